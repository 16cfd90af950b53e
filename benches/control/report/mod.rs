//! What is made of the runs: tables, files, plots and the verdict.

mod bootstrap;
mod files;
mod plot;
mod summary;
mod table;
mod verdict;

pub use files::write;
pub use summary::{Cell, Results, Series, Summary};
pub use table::{print, say};
pub use verdict::judge;
