pub struct Signal;
