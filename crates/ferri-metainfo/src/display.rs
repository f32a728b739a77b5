//! Text from outside, made harmless before a person sees it.
