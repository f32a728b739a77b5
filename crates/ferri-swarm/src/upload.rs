//! stub
pub(crate) const INCOMING_REQUESTS_MAX: usize = 500;
