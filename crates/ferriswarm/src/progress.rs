//! What is worked on, as lines of text that fit the terminal.
//!
//! `words` makes a [`View`] of a status, `layout` lines of views.

mod bar;
mod layout;
mod view;
mod words;

pub(crate) use bar::Charset;
pub(crate) use layout::{Size, lines, plain_line};
pub(crate) use view::{Doing, Flow, View};
pub(crate) use words::{looking, places, queue_words, wait_words};

#[cfg(test)]
mod tests;
