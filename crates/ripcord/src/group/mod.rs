//! Structured tasks under one context: Go's errgroup.
pub struct Group;
pub struct GroupError;
pub type BoxFuture = ();
