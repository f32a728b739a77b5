//! stub
mod rarity;
