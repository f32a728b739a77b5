//! Bencode, borrowed and canonical: slices in, spans out.
