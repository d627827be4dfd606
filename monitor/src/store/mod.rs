//! What has happened lately, for whoever asks.

pub mod recent;
