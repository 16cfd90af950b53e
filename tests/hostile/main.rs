//! What fuzzing does, with a stable compiler: the corpus, random bytes, and random changes of the corpus.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "../fuzz/entries/mod.rs"]
mod entries;

#[path = "../../benches/cycle/observations.rs"]
mod observations;

mod versions;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use valence::core::decision::Bounds;
use valence::core::{Advisor, Settings};

/// The files of a target's corpus; it must not be empty.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fuzz/corpus")
        .join(target);
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "the corpus of {target} is there");
    files.into_iter().map(|file| std::fs::read(file).unwrap()).collect()
}

/// One change of some bytes.
#[derive(Clone, Debug)]
enum Change {
    Flip(Index, u8),
    Cut(Index),
    Remove(Index, u8),
    Insert(Index, Vec<u8>),
    Repeat(Index, u8),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Flip(at, byte)),
        any::<Index>().prop_map(Change::Cut),
        (any::<Index>(), any::<u8>()).prop_map(|(at, length)| Change::Remove(at, length)),
        (any::<Index>(), vec(any::<u8>(), 0..8)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        (any::<Index>(), any::<u8>()).prop_map(|(at, length)| Change::Repeat(at, length)),
    ]
}

fn changed(mut bytes: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        if bytes.is_empty() {
            break;
        }
        let length = bytes.len();
        match change {
            Change::Flip(at, byte) => bytes[at.index(length)] ^= byte,
            Change::Cut(at) => bytes.truncate(at.index(length)),
            Change::Remove(at, count) => {
                let at = at.index(length);
                bytes.drain(at..(at + usize::from(*count)).min(length));
            }
            Change::Insert(at, inserted) => {
                let at = at.index(length);
                bytes.splice(at..at, inserted.iter().copied());
            }
            Change::Repeat(at, count) => {
                let at = at.index(length);
                let piece = bytes[at..(at + usize::from(*count)).min(length)].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
    bytes
}

macro_rules! hostile {
    ($($target:ident),*) => { $(
        mod $target {
            use super::*;

            #[test]
            fn corpus_holds() {
                corpus(stringify!($target)).iter().for_each(|bytes| entries::$target::run(bytes));
            }

            proptest! {
                #![proptest_config(ProptestConfig::with_cases(300))]

                #[test]
                fn random_bytes(bytes in vec(any::<u8>(), 0..256)) {
                    entries::$target::run(&bytes);
                }

                #[test]
                fn changes_of_the_corpus(which in any::<Index>(), changes in vec(change(), 1..5)) {
                    let files = corpus(stringify!($target));
                    entries::$target::run(&changed(files[which.index(files.len())].clone(), &changes));
                }
            }
        }
    )* };
}

/// A checkpoint of a model that has learnt for an hour, in the format of today.
static FRESH: LazyLock<String> = LazyLock::new(|| {
    let mut application = observations::Application::new(1, 3);
    let mut advisor = Advisor::new(vec![application.objective()], Bounds::default(), Settings::default());
    for window in 0..240 {
        let now = 1_799_990_000.0 + 15.0 * f64::from(window);
        advisor.observe(&application.observe(now, 15.0));
        application.follow(&advisor.decide(now));
    }
    advisor.checkpoint()
});

#[test]
fn a_fresh_checkpoint_holds() {
    assert!(FRESH.len() > 500, "{}", *FRESH);
    entries::checkpoint::run(FRESH.as_bytes());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn changes_of_a_fresh_checkpoint(changes in vec(change(), 1..4)) {
        entries::checkpoint::run(&changed(FRESH.clone().into_bytes(), &changes));
    }

    #[test]
    fn other_numbers_in_a_fresh_checkpoint(which in any::<Index>(), number in "-?[0-9]{1,3}(\\.[0-9])?(e-?[0-9]{1,3})?") {
        entries::checkpoint::run(with_number(&FRESH, which, &number).as_bytes());
    }
}

/// The text with one of its numbers replaced.
fn with_number(text: &str, which: Index, number: &str) -> String {
    let part_of_number = |character: char| character.is_ascii_digit() || matches!(character, '.' | '-' | 'e');
    let starts: Vec<usize> = text
        .char_indices()
        .filter(|(at, character)| character.is_ascii_digit() && text[..*at].ends_with([':', ',', '[']))
        .map(|(at, _)| at)
        .collect();
    let start = starts[which.index(starts.len())];
    let end = start + text[start..].find(|character| !part_of_number(character)).unwrap_or(0);
    format!("{}{number}{}", &text[..start], &text[end..])
}

/// Reviews that nobody answers would find nothing.
#[test]
fn most_of_the_reviews_are_about_something() {
    let patched = |bytes: &Vec<u8>| entries::admission::patches(bytes) > 0;
    let reviews = corpus("admission");
    let count = reviews.iter().filter(|bytes| patched(bytes)).count();
    assert!(count * 2 > reviews.len(), "{count} of {} are patched", reviews.len());
}

hostile!(admission, exposition, objective, quantity, checkpoint);
