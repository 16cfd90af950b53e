//! Reviews that differ in nothing which is read.
//!
//! The pods of a ReplicaSet come in bursts, and their reviews differ in identifiers, in times, and in the names of the volumes
//! of their tokens: in values that are passed over. What is read of a review is kept, a tenth of a large one; where
//! another has the same in the same order, with whatever values in between that are passed over, reading it would come to the
//! same. Comparing some thousand bytes, and going past the others, is several times as fast as that.

use std::ops::Range;

use crate::reader::Reader;

/// What is read of a review.
#[derive(Debug)]
pub(crate) struct Template {
    /// The parts that are read, one after the other. A value that is passed over follows each but the last.
    read: Box<[u8]>,
    /// Where each part but the last ends.
    ends: Box<[u32]>,
    /// The part that the identifier of the review follows, in place of a value that is passed over.
    before_uid: usize,
}

impl Template {
    /// Of a review, of which parts were passed over. Its `uid`, which is read, may be another all the same. `None` where that
    /// is not written as it is said.
    pub fn of(body: &[u8], uid: &str, passed: &[Range<usize>]) -> Option<Self> {
        let start = (uid.as_ptr() as usize).checked_sub(body.as_ptr() as usize)?;
        let quoted = start.checked_sub(1)?..start.checked_add(uid.len())?.checked_add(1)?;
        let written = body.get(quoted.clone())?;
        (written.first() == Some(&b'"') && written.last() == Some(&b'"')).then_some(())?;
        let before_uid = passed.partition_point(|range| range.start < quoted.start);
        let gaps = passed[..before_uid]
            .iter()
            .chain([&quoted])
            .chain(&passed[before_uid..]);
        let (mut read, mut ends, mut at) = (Vec::new(), Vec::with_capacity(passed.len() + 1), 0);
        for gap in gaps {
            read.extend_from_slice(body.get(at..gap.start)?);
            ends.push(u32::try_from(read.len()).ok()?);
            at = gap.end;
        }
        read.extend_from_slice(body.get(at..)?);
        Some(Self {
            read: read.into(),
            ends: ends.into(),
            before_uid,
        })
    }

    /// Whether reading another review comes to the same, but for its `uid`, which is handed out.
    pub fn uid_in<'b>(&self, body: &'b [u8]) -> Option<&'b str> {
        let (mut reader, mut start, mut uid) = (Reader::new(body), 0, None);
        for (part, end) in self.ends.iter().enumerate() {
            let end = *end as usize;
            reader.bytes(&self.read[start..end])?;
            if part == self.before_uid {
                uid = reader.quoted().filter(|uid| !uid.escaped && !uid.raw.is_empty());
                uid.as_ref()?;
            } else {
                reader.skip()?;
            }
            start = end;
        }
        reader.bytes(&self.read[start..])?;
        let uid = uid.filter(|_| reader.is_at_end())?;
        std::str::from_utf8(uid.raw).ok()
    }

    /// Bytes that it takes.
    pub fn size(&self) -> usize {
        self.read.len() + size_of_val(&*self.ends)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use proptest::sample::{Index, select};

    use super::*;
    use crate::review::{self, Read};

    fn review(uid: &str, time: &str, volume: &str, image: &str) -> String {
        format!(
            r#"{{"apiVersion":"admission.k8s.io/v1","request":{{"uid":"{uid}","kind":{{"kind":"Pod"}},"operation":"CREATE","namespace":"shop",
            "userInfo":{{"username":"controller","extra":{{"id":["{uid}"]}}}},"object":{{"metadata":{{"generateName":"web-1-",
            "annotations":{{"note":"a \"{{\" \u00e9é"}},"ownerReferences":[{{"kind":"ReplicaSet","name":"web-1","controller":true}}],
            "managedFields":[{{"manager":"controller","time":"{time}","fieldsV1":{{"k:{{\"name\":\"app\"}}":{{}}}}}}]}},
            "spec":{{"volumes":[{{"name":"{volume}","more":["\\"]}}],"containers":[{{"name":"app","image":"{image}","ports":[{{"containerPort":8080}}],
            "volumeMounts":[{{"name":"{volume}","mountPath":"/é"}}],"resources":{{"requests":{{"cpu":"100m"}}}}}}]}}}}}}}}"#
        )
    }

    fn usual() -> String {
        review("0b8e5f", "2026-11-24T06:00:00Z", "token-x7v9q", "web:1.42")
    }

    fn template(body: &str) -> Template {
        let Read::Whole(request) = review::read_pod(body.as_bytes()).unwrap() else {
            panic!("the review of this test is understood")
        };
        let passed = review::passed_over(body.as_bytes()).unwrap();
        Template::of(body.as_bytes(), &request.uid.unwrap(), &passed).unwrap()
    }

    /// What is read, and the identifier apart.
    fn read(body: &[u8]) -> Option<(String, String)> {
        let Read::Whole(mut request) = review::read_pod(body).ok()? else {
            return None;
        };
        let uid = request.uid.take()?.to_string();
        Some((uid, format!("{request:?}")))
    }

    #[test]
    fn pods_of_one_template_are_alike() {
        let (template, other) = (
            template(&usual()),
            review("77aa12", "2026-11-24T07:31:59Z", "token-pq2zz", "web:1.42"),
        );
        assert_eq!(template.uid_in(other.as_bytes()), Some("77aa12"));
        assert_eq!(template.uid_in(usual().as_bytes()), Some("0b8e5f"));
        let longer = review("a", "2026-11-24T07:31:59.123Z", "é \\\" {", "web:1.42");
        assert_eq!(template.uid_in(longer.as_bytes()), Some("a"));
        assert!(template.size() < usual().len());
    }

    #[test]
    fn what_is_read_may_not_differ() {
        let template = template(&usual());
        for (what, other) in [
            ("\"shop\"", "\"bank\""),
            ("\"name\":\"app\"", "\"name\":\"abb\""),
            ("8080", "8081"),
            ("100m", "200m"),
            ("CREATE", "UPDATE"),
            ("web-1\"", "web-2\""),
            ("0b8e5f", "0b8e\"f"),
            ("0b8e5f", "0b8e\\u0066"),
            ("0b8e5f", ""),
            ("token-x7v9q\"", "token-x7v9\\\""),
            ("\"volumes\"", "\"volumez\""),
        ] {
            let other = usual().replacen(what, other, 1);
            assert_eq!(template.uid_in(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn identifiers_from_elsewhere_are_none() {
        let body = usual();
        assert!(Template::of(body.as_bytes(), "0b8e5f", &[]).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]

        /// Whatever is changed, put in and taken out: where a review is alike, it reads the same.
        #[test]
        fn what_is_alike_reads_the_same(
            changes in proptest::collection::vec(
                (any::<Index>(), select(b"abz019-\"\\{}[]:, \x00\xc3\xa9".to_vec()), select(vec![0, 1, 1, 1, 2])), 1..4)
        ) {
            let mut body = usual().into_bytes();
            let template = template(&usual());
            for (position, byte, length) in changes {
                let position = position.index(body.len() - 1);
                body.splice(position..position + 1, std::iter::repeat_n(byte, length));
            }
            if let Some(uid) = template.uid_in(&body) {
                let (_, usual) = read(usual().as_bytes()).unwrap();
                prop_assert_eq!(read(&body), Some((uid.to_owned(), usual)));
            }
        }

        /// The same where other values than those of this test are passed over, as an API server of later years writes them.
        #[test]
        fn whatever_is_passed_over_may_be_another(volume in "[a-z\"\\\\{}\u{e9}]{0,30}", number in any::<i64>(), count in 0_usize..5) {
            let value = serde_json::json!({"name": volume, "more": vec![number; count]}).to_string();
            let other = usual().replace(r#"["\\"]"#, &value);
            prop_assert_eq!(template(&usual()).uid_in(other.as_bytes()), Some("0b8e5f"));
        }
    }
}
