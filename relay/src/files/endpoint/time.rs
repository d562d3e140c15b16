//! Times of files in journals. Files have times before 1970, which serde does not write for a `SystemTime`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Is it before 1970, seconds from there, and nanoseconds.
type Written = Option<(bool, u64, u32)>;

#[expect(clippy::ref_option, reason = "serde calls it so")]
pub(super) fn serialize<S: Serializer>(time: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
    let written: Written = time.map(|time| match time.duration_since(UNIX_EPOCH) {
        Ok(since) => (false, since.as_secs(), since.subsec_nanos()),
        Err(before) => (true, before.duration().as_secs(), before.duration().subsec_nanos()),
    });
    written.serialize(serializer)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SystemTime>, D::Error> {
    let Some((is_before, seconds, nanos)) = Written::deserialize(deserializer)? else { return Ok(None) };
    let distance = Duration::from_secs(seconds).checked_add(Duration::from_nanos(nanos.into()));
    let time =
        distance.and_then(
            |distance| if is_before { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) },
        );
    time.map(Some).ok_or_else(|| D::Error::custom("a time that no system has"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Attributes;

    #[test]
    fn every_time_is_read_as_it_was_written() {
        let after = Duration::new(1_700_000_000, 123_456_789);
        for modified in [None, Some(UNIX_EPOCH), Some(UNIX_EPOCH + after), Some(UNIX_EPOCH - after)] {
            let attributes = Attributes { size_bytes: 7, modified, mode: None };
            let text = serde_json::to_string(&attributes).expect("written");
            assert_eq!(serde_json::from_str::<Attributes>(&text).expect("read"), attributes, "{text}");
        }
        let impossible = format!(r#"{{"size_bytes":7,"modified":[false,{},0],"mode":null}}"#, u64::MAX);
        assert!(serde_json::from_str::<Attributes>(&impossible).is_err());
    }
}
