//! How options are serialised (feature `serde`), where that is not as they are.

/// The info dictionary as its length: what it says is in the layout, and what is served of it is shown as a length too.
pub(crate) mod metadata {
    use bytes::Bytes;
    use ferri_metainfo::limits::TORRENT_BYTES_MAX;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(bytes: &Option<Bytes>, serializer: S) -> Result<S::Ok, S::Error> {
        bytes.as_ref().map(Bytes::len).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Bytes>, D::Error> {
        let length = Option::<usize>::deserialize(deserializer)?;
        if length.is_some_and(|length| TORRENT_BYTES_MAX < length) {
            return Err(D::Error::custom("an info dictionary beyond the limit"));
        }
        Ok(length.map(|length| Bytes::from(vec![0; length])))
    }
}
