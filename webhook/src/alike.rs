//! Reviews that differ in nothing which is read.
//!
//! The pods of a ReplicaSet come in bursts, and their reviews differ in identifiers, in times, and in the names of the volumes
//! of their tokens: in characters of text that is passed over. Where only those differ, and are such that text stays text,
//! whatever is read is the same; and comparing bytes is many times as fast as reading them.

use std::ops::Range;

use crate::blocks::{BLOCK, differ_freely, ordinary_in_text};

/// Bytes that are compared together.
const STRETCH: usize = 8 * BLOCK;

/// A review, and where another may differ from it.
#[derive(Debug)]
pub(crate) struct Template {
    body: Box<[u8]>,
    /// A bit for each byte that may be another.
    free: Box<[u64]>,
    uid: Range<usize>,
}

impl Template {
    /// Of a review, of which parts were passed over. Its `uid`, which is read, may be another all the same. `None` where that
    /// is not written as it is said.
    pub fn of(body: &[u8], uid: &str, passed: &[Range<usize>]) -> Option<Self> {
        let start = (uid.as_ptr() as usize).checked_sub(body.as_ptr() as usize)?;
        let uid = start..start.checked_add(uid.len())?;
        body.get(uid.clone())?;
        let mut free = vec![0; body.len().div_ceil(BLOCK)];
        for range in passed.iter().chain([&uid]) {
            mark(&mut free, range);
        }
        for (free, ordinary) in free.iter_mut().zip(ordinary_in_text(body)) {
            *free &= ordinary;
        }
        Some(Self {
            body: body.into(),
            free: free.into(),
            uid,
        })
    }

    /// Whether reading another review comes to the same, but for its `uid`, which is handed out.
    pub fn uid_in<'b>(&self, body: &'b [u8]) -> Option<&'b str> {
        let stretches = self.body.chunks(STRETCH).zip(body.chunks(STRETCH));
        let mut stretches = stretches.zip(self.free.chunks(STRETCH / BLOCK));
        let alike = self.body.len() == body.len()
            && stretches.all(|((own, other), free)| own == other || differ_freely(own, other, free));
        let uid = body.get(self.uid.clone()).filter(|_| alike)?;
        std::str::from_utf8(uid).ok()
    }

    /// How long the review is.
    pub fn length(&self) -> usize {
        self.body.len()
    }

    /// Bytes that it takes.
    pub fn size(&self) -> usize {
        self.body.len() + size_of_val(&*self.free)
    }
}

/// Sets the bits of a range.
fn mark(bits: &mut [u64], range: &Range<usize>) {
    for (position, bits) in bits
        .iter_mut()
        .enumerate()
        .take(range.end.div_ceil(BLOCK))
        .skip(range.start / BLOCK)
    {
        let first = range.start.saturating_sub(position * BLOCK);
        let end = (range.end - position * BLOCK).min(BLOCK);
        let below = |bit: usize| if bit == BLOCK { u64::MAX } else { (1 << bit) - 1 };
        *bits |= below(end) & !below(first);
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
        assert_eq!(template.length(), other.len());
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
            ("token-x7v9q", "token-x7v9"),
            ("0b8e5f", "0b8e\"f"),
            ("token-x7v9q\"", "token-x7v9\\\""),
            ("token-x7v9q", "token-x7v\u{e9}"),
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

        /// Whatever is changed: where a review is alike, it reads the same.
        #[test]
        fn what_is_alike_reads_the_same(
            changes in proptest::collection::vec((any::<Index>(), select(b"abz019-\"\\{}[]:, \x00\xc3\xa9".to_vec())), 1..4)
        ) {
            let mut body = usual().into_bytes();
            let template = template(&usual());
            for (position, byte) in changes {
                let position = position.index(body.len());
                body[position] = byte;
            }
            if let Some(uid) = template.uid_in(&body) {
                let (_, usual) = read(usual().as_bytes()).unwrap();
                prop_assert_eq!(read(&body), Some((uid.to_owned(), usual)));
            }
        }

        #[test]
        fn bits_of_a_range_are_set(start in 0_usize..400, length in 0_usize..400) {
            let (mut bits, range) = ([0; 13], start..start + length);
            mark(&mut bits, &range);
            for bit in 0..13 * BLOCK {
                prop_assert_eq!(bits[bit / BLOCK] >> (bit % BLOCK) & 1 == 1, range.contains(&bit));
            }
        }
    }
}
