//! In which order targets are asked, so that those which do not answer cost the others nothing.
//!
//! Who answered last time is asked in a wide lane, briskly. Who does not answer briskly there, or failed before, is asked
//! in a narrow lane beside it, with patience, and ever more rarely. Nobody is asked any more once the round is over.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::channel::mpsc::{UnboundedSender, unbounded};
use futures::{StreamExt, stream};
use tokio::time::{Instant, timeout_at};

/// Asked at any time in the wide lane.
const WIDE: usize = 64;

/// Asked at any time in the narrow lane.
const NARROW: usize = 16;

/// A target that keeps failing is asked again after so many intervals at most: five minutes, at fifteen seconds.
const RAREST: f64 = 20.0;

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Time between the starts of two rounds.
    pub interval: Duration,
    /// Longest round.
    pub round: Duration,
    /// Longest wait for one target in the wide lane.
    pub brisk: Duration,
    /// Longest wait for one target in the narrow lane.
    pub patient: Duration,
}

impl Pace {
    /// A pace for rounds every `interval`.
    #[must_use]
    pub fn every(interval: Duration) -> Self {
        let least = Duration::from_millis(250);
        // On a busy node an answer takes some tenths of a second, however often it is asked for.
        let room = interval.mul_f64(0.6).min(Duration::from_secs(1));
        Self {
            interval,
            round: interval.mul_f64(0.8),
            brisk: (interval / 15).clamp(least, Duration::from_secs(1)),
            patient: (interval / 3).max(room).clamp(least, Duration::from_secs(5)),
        }
    }
}

/// Somebody to ask.
pub trait Target: Clone {
    /// What it is known by.
    fn unique(&self) -> &Arc<str>;
    /// When it last became ready: what was known of it before is of no use then.
    fn ready_at_seconds(&self) -> Option<f64>;
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It did not answer in the time that it was given.
    Late(Duration),
    /// It answered with this error.
    Error(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Late(patience) => write!(formatter, "no answer within {patience:?}"),
            Self::Error(error) => formatter.write_str(error),
        }
    }
}

/// How targets answered until now.
#[derive(Debug, Default)]
pub struct Lanes {
    known: HashMap<Arc<str>, Health>,
}

#[derive(Clone, Debug, Default)]
struct Health {
    /// Failures in a row, and the last of them.
    failures: u32,
    failure: Option<Failure>,
    again: Option<Instant>,
    is_slow: bool,
    asked: Option<Instant>,
    ready_at_seconds: Option<f64>,
}

impl Health {
    fn is_well(&self) -> bool {
        self.failures == 0 && !self.is_slow
    }
}

impl Lanes {
    /// Asks every target whose turn it is in the round that is due at `due`, and tells what came of each; who fails and is
    /// left alone for now comes back with its last failure, and who was not reached before the round was over does not come
    /// back.
    pub async fn ask<G: Target, T, F>(
        &mut self,
        due: Instant,
        targets: Vec<G>,
        pace: &Pace,
        ask: impl Fn(G) -> F,
    ) -> Vec<(G, Result<T, Failure>)>
    where
        F: Future<Output = Result<T, String>>,
    {
        self.follow(&targets);
        let mut answers = Vec::with_capacity(targets.len());
        let (mut wide, mut narrow) = (Vec::new(), Vec::new());
        for target in targets {
            let health = self.health(&target);
            if health.is_well() {
                wide.push(target);
            } else if health.again.is_none_or(|again| again <= due) {
                narrow.push(target);
            } else if let Some(failure) = health.failure.clone() {
                answers.push((target, Err(failure)));
            }
        }
        self.longest_waiting_first(&mut wide);
        self.longest_waiting_first(&mut narrow);
        let asked = run(wide, narrow, Instant::now() + pace.round, pace, &ask).await;
        for (target, answer) in asked {
            answers.push((target.clone(), self.note(due, &target, answer, pace)));
        }
        answers
    }

    fn health(&self, target: &impl Target) -> Health {
        self.known.get(target.unique()).cloned().unwrap_or_default()
    }

    /// Forgets who is gone, and what was known of who became ready since.
    fn follow<G: Target>(&mut self, targets: &[G]) {
        let mut known = HashMap::with_capacity(targets.len());
        for target in targets {
            let ready_at_seconds = target.ready_at_seconds();
            let health = self.known.remove(target.unique());
            let health = health.filter(|health| health.ready_at_seconds == ready_at_seconds);
            known.insert(
                Arc::clone(target.unique()),
                Health {
                    ready_at_seconds,
                    ..health.unwrap_or_default()
                },
            );
        }
        self.known = known;
    }

    fn longest_waiting_first(&self, targets: &mut [impl Target]) {
        targets.sort_by_key(|target| self.known.get(target.unique()).and_then(|health| health.asked));
    }

    fn note<T>(&mut self, due: Instant, target: &impl Target, answer: Answer<T>, pace: &Pace) -> Result<T, Failure> {
        let health = self.known.entry(Arc::clone(target.unique())).or_default();
        health.asked = Some(due);
        match answer.result {
            Ok(value) => {
                health.failures = 0;
                health.is_slow = answer.took > pace.brisk;
                Ok(value)
            }
            Err(failure) => {
                health.failures = health.failures.saturating_add(1);
                // Half an interval early, so that it is due when its round begins.
                let intervals = 2_f64.powi(health.failures.min(16) as i32 - 1).min(RAREST) - 0.5;
                health.again = Some(due + pace.interval.mul_f64(intervals));
                health.failure = Some(failure.clone());
                Err(failure)
            }
        }
    }
}

struct Answer<T> {
    took: Duration,
    result: Result<T, Failure>,
}

/// Both lanes side by side; who is not brisk enough for the wide one goes over to the narrow one.
async fn run<G: Target, T, F>(
    wide: Vec<G>,
    narrow: Vec<G>,
    end: Instant,
    pace: &Pace,
    ask: &impl Fn(G) -> F,
) -> Vec<(G, Answer<T>)>
where
    F: Future<Output = Result<T, String>>,
{
    let (over, moved) = unbounded();
    let wide = async move {
        let over: UnboundedSender<G> = over;
        let asked = stream::iter(wide).map(|target| one(target, pace.brisk, end, ask));
        let mut answers = Vec::new();
        let mut asked = asked.buffer_unordered(WIDE);
        while let Some(answer) = asked.next().await {
            match answer {
                Some((target, answer)) if matches!(answer.result, Err(Failure::Late(_))) && Instant::now() < end => {
                    let _ = over.unbounded_send(target);
                }
                answer => answers.extend(answer),
            }
        }
        answers
    };
    let narrow = stream::iter(narrow)
        .chain(moved)
        .map(|target| one(target, pace.patient, end, ask))
        .buffer_unordered(NARROW)
        .filter_map(async |answer| answer)
        .collect::<Vec<_>>();
    let (mut answers, more) = tokio::join!(wide, narrow);
    answers.extend(more);
    answers
}

/// Asks one target; `None` when the round is over before its turn.
async fn one<G: Target, T, F>(
    target: G,
    patience: Duration,
    end: Instant,
    ask: &impl Fn(G) -> F,
) -> Option<(G, Answer<T>)>
where
    F: Future<Output = Result<T, String>>,
{
    let begun = Instant::now();
    if begun >= end {
        return None;
    }
    let given = patience.min(end - begun);
    let result = match timeout_at(begun + given, ask(target.clone())).await {
        Ok(answer) => answer.map_err(Failure::Error),
        Err(_) => Err(Failure::Late(given)),
    };
    let took = begun.elapsed();
    Some((target, Answer { took, result }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    use tokio::time::sleep;

    use super::*;

    #[derive(Clone)]
    struct Pod {
        unique: Arc<str>,
        ready_at_seconds: Option<f64>,
        answers: Answers,
    }

    #[derive(Clone, Copy, PartialEq)]
    enum Answers {
        AtOnce,
        After(Duration),
        Never,
    }

    impl Target for Pod {
        fn unique(&self) -> &Arc<str> {
            &self.unique
        }

        fn ready_at_seconds(&self) -> Option<f64> {
            self.ready_at_seconds
        }
    }

    fn pods(name: &str, count: usize, answers: Answers) -> Vec<Pod> {
        let pod = |number| Pod {
            unique: format!("{name}-{number}").into(),
            ready_at_seconds: Some(0.0),
            answers,
        };
        (0..count).map(pod).collect()
    }

    /// Rounds of a day that is made up; only what is waited for takes time.
    struct Day {
        lanes: Lanes,
        pace: Pace,
        due: Instant,
    }

    impl Day {
        fn new() -> Self {
            let pace = Pace {
                round: Duration::from_secs(60),
                brisk: Duration::from_millis(1),
                patient: Duration::from_millis(2),
                ..Pace::every(Duration::from_secs(15))
            };
            Self {
                lanes: Lanes::default(),
                pace,
                due: Instant::now(),
            }
        }

        /// How many answered, and how often each that never does was asked.
        async fn round(&mut self, pods: &[Pod]) -> (usize, BTreeMap<Arc<str>, usize>) {
            let asked = RefCell::new(BTreeMap::new());
            let ask = async |pod: Pod| {
                match pod.answers {
                    Answers::AtOnce => {}
                    Answers::After(time) => sleep(time).await,
                    Answers::Never => {
                        *asked.borrow_mut().entry(pod.unique).or_default() += 1;
                        std::future::pending().await
                    }
                }
                Ok(())
            };
            let answers = self.lanes.ask(self.due, pods.to_vec(), &self.pace, ask).await;
            self.due += self.pace.interval;
            let answered = answers.iter().filter(|(_, result)| result.is_ok()).count();
            (answered, asked.into_inner())
        }
    }

    #[tokio::test]
    async fn black_holes_never_delay_who_answers() {
        let mut day = Day::new();
        // Those that swallow everything come first.
        let mut all = pods("hole", 480, Answers::Never);
        all.extend(pods("well", 2000, Answers::AtOnce));
        let mut asked = 0;
        for _ in 0..40 {
            let (answered, holes) = day.round(&all).await;
            assert_eq!(answered, 2000, "everyone who answers is heard in every round");
            asked += holes.values().sum::<usize>();
        }
        assert_eq!(asked, 480 * 7, "both lanes at first, then in rounds 1, 3, 7, 15 and 31");
    }

    #[tokio::test]
    async fn who_keeps_failing_is_asked_ever_more_rarely_and_at_once_when_ready_anew() {
        let (mut day, mut all) = (Day::new(), pods("hole", 1, Answers::Never));
        let mut asked = Vec::new();
        for round in 0..72 {
            if !day.round(&all).await.1.is_empty() {
                asked.push(round);
            }
        }
        assert_eq!(asked, [0, 1, 3, 7, 15, 31, 51, 71]);
        all[0].answers = Answers::AtOnce;
        assert_eq!(day.round(&all).await.0, 0, "it is left alone");
        all[0].ready_at_seconds = Some(700.0);
        assert_eq!(day.round(&all).await.0, 1);
    }

    #[tokio::test]
    async fn who_is_slow_is_heard_out() {
        let mut day = Day::new();
        day.pace.patient = Duration::from_secs(60);
        let mut all = pods("well", 100, Answers::AtOnce);
        all.extend(pods("slow", 1, Answers::After(Duration::from_millis(20))));
        for _ in 0..3 {
            assert_eq!(day.round(&all).await.0, 101);
        }
        assert!(day.lanes.known["slow-0"].is_slow && day.lanes.known["slow-0"].failures == 0);
    }

    #[tokio::test]
    async fn a_round_that_is_over_asks_nobody_and_blames_nobody() {
        let (mut day, all) = (Day::new(), pods("hole", 10, Answers::Never));
        day.pace.round = Duration::ZERO;
        assert_eq!(day.round(&all).await, (0, BTreeMap::new()));
        assert!(day.lanes.known.values().all(Health::is_well));
    }

    #[tokio::test]
    async fn who_waited_longest_comes_first() {
        let (mut day, all) = (Day::new(), pods("well", 3, Answers::AtOnce));
        day.round(&all[..1]).await;
        day.lanes.follow(&all);
        let mut sorted = all.clone();
        day.lanes.longest_waiting_first(&mut sorted);
        assert_eq!(&*sorted[2].unique, "well-0");
    }

    #[tokio::test]
    async fn the_last_failure_is_told_while_nobody_asks() {
        let (mut day, all) = (Day::new(), pods("hole", 1, Answers::Never));
        for _ in 0..3 {
            let ask = |_| std::future::pending::<Result<(), String>>();
            let answers = day.lanes.ask(day.due, all.clone(), &day.pace, ask).await;
            let failure = answers[0].1.as_ref().unwrap_err().to_string();
            assert!(failure.starts_with("no answer within"), "{failure}");
        }
        day.round(&[]).await;
        assert!(day.lanes.known.is_empty(), "who is gone is forgotten");
    }
}
