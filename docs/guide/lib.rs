//! The guide of ripcord: one module for each page. Start with [`introduction`].
//!
//! The pages are the Markdown files in `src`. `mdbook` shows them as a book, in the order of `SUMMARY.md`.

include!(concat!(env!("OUT_DIR"), "/pages.rs"));
