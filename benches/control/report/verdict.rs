//! The "must reach" list, checked.

use super::bootstrap;
use super::summary::{Cell, Results, Summary};
use super::table::{geometric_mean, say};
use crate::contestants::Contestant;
use crate::scenario::{Event, Scenario};

/// Time beyond the start of a pod within which a step of the load must be mastered, in seconds.
const STEP_SECONDS: f64 = 45.0;

/// Time within which a slower deploy must be mastered, in seconds.
const DEPLOY_SECONDS: f64 = 180.0;

/// One item of the list.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// What is asked.
    pub name: &'static str,
    /// What came out; `None` where the run had nothing to judge it by.
    pub value: Option<f64>,
    /// Least and most that it may be.
    pub allowed: (f64, f64),
    /// 95% interval over seeds, for a ratio.
    pub interval: Option<(f64, f64)>,
}

impl Verdict {
    /// Whether it is reached; what could not be judged is not.
    pub fn reached(&self) -> bool {
        self.value
            .is_some_and(|value| value >= self.allowed.0 && value <= self.allowed.1)
    }

    fn outcome(&self) -> &'static str {
        match self.value {
            None => "not run",
            Some(_) if self.reached() => "pass",
            Some(_) => "FAIL",
        }
    }
}

/// Judges the results and prints the list.
pub fn judge(results: &Results, suite: &[Scenario]) -> Vec<Verdict> {
    let verdicts = Judge { results, suite }.verdicts();
    say("\nmust reach");
    for verdict in &verdicts {
        let value = verdict.value.map_or("-".to_owned(), |value| format!("{value:.3}"));
        let interval = verdict
            .interval
            .map_or(String::new(), |(low, high)| format!("  95%: [{low:.3}, {high:.3}]"));
        let (least, most) = verdict.allowed;
        let allowed = match (least.is_finite(), most.is_finite()) {
            (true, true) => format!("{least} to {most}"),
            (true, false) => format!(">= {least}"),
            _ => format!("<= {most}"),
        };
        say(&format!(
            "  {:<8}{:<62}{value:>9}  {allowed}{interval}",
            verdict.outcome(),
            verdict.name
        ));
    }
    say("\nbeside it");
    for (name, value) in (Judge { results, suite }).asides() {
        let value = value.map_or("-".to_owned(), |value| format!("{value:.3}"));
        say(&format!("  {:<8}{name:<62}{value:>9}", ""));
    }
    verdicts
}

struct Judge<'a> {
    results: &'a Results,
    suite: &'a [Scenario],
}

impl Judge<'_> {
    fn verdicts(&self) -> Vec<Verdict> {
        let hpa = Contestant::Hpa(0.7);
        vec![
            self.item("objective kept, share of runs", self.kept(), (0.95, f64::INFINITY)),
            self.ratio("core-hours / best feasible peer, untuned", 0.74, |index| {
                self.results.best_peer(index, true)
            }),
            self.ratio(
                "core-hours / best such peer without an agent on the nodes",
                0.74,
                |index| self.results.best_peer(index, false),
            ),
            self.ratio("core-hours / HPA tuned afterwards for each trace", 0.90, |index| {
                self.results
                    .cell(index, Contestant::HpaTuned)
                    .filter(|cell| cell.feasible())
            }),
            self.ratio("core-hours / oracle", 1.15, |index| {
                self.results.cell(index, Contestant::Oracle)
            }),
            self.item(
                "minutes in violation / those of HPA 70%",
                self.minutes_over(hpa),
                (f64::NEG_INFINITY, 0.25),
            ),
            self.item(
                "seconds to recover beyond a pod's start, load x2",
                self.step(),
                (f64::NEG_INFINITY, STEP_SECONDS),
            ),
            self.item(
                "seconds to recover from a deploy with CPU time x1.5",
                self.deploy(),
                (f64::NEG_INFINITY, DEPLOY_SECONDS),
            ),
            self.item("scale-ins during the blackout", self.blind(), (f64::NEG_INFINITY, 0.0)),
            self.item(
                "changes of the pod size, most of any run",
                self.restarts(),
                (f64::NEG_INFINITY, 2.0),
            ),
            self.item("coverage of the bound of latency", self.coverage(), (0.90, 0.99)),
        ]
    }

    /// What is not asked for, but puts the ratios into their place.
    fn asides(&self) -> Vec<(String, Option<f64>)> {
        let mut applications: Vec<&str> = self
            .suite
            .iter()
            .map(|scenario| scenario.application.as_str())
            .collect();
        applications.sort_unstable();
        applications.dedup();
        let among = |name: &str, of: Contestant, which: &dyn Fn(&Scenario) -> bool| {
            let ratio = self.ratio("", f64::INFINITY, |index| {
                let cell = self.results.cell(index, of).filter(|cell| cell.feasible());
                cell.filter(|_| which(&self.suite[index]))
            });
            (format!("core-hours / {}, {name}", of.name()), ratio.value)
        };
        let judged_only = |scenario: &Scenario| !scenario.tuned_on;
        let all = |_: &Scenario| true;
        let mut asides = vec![
            among("all loads", Contestant::Reactive, &all),
            among("loads that nothing was tuned on", Contestant::HpaTuned, &judged_only),
            among("loads that nothing was tuned on", Contestant::Oracle, &judged_only),
        ];
        for of in [Contestant::HpaTuned, Contestant::Oracle] {
            asides.extend(applications.iter().map(|application| {
                let name = format!("application {application}");
                among(&name, of, &|scenario: &Scenario| scenario.application == *application)
            }));
        }
        asides.push(("windows that coverage leaves out, share".to_owned(), self.left_out()));
        asides
    }

    fn left_out(&self) -> Option<f64> {
        let runs = self.valence().flat_map(|cell| &cell.runs);
        let all = runs.filter_map(|run| run.coverage);
        let (out, all) = all.fold((0, 0), |sum, one| {
            (sum.0 + one.left_out, sum.1 + one.windows + one.left_out)
        });
        (all > 0).then(|| out as f64 / all as f64)
    }

    fn item(&self, name: &'static str, value: Option<f64>, allowed: (f64, f64)) -> Verdict {
        Verdict {
            name,
            value,
            allowed,
            interval: None,
        }
    }

    fn valence(&self) -> impl Iterator<Item = &Cell> {
        self.results
            .cells
            .iter()
            .filter(|cell| cell.contestant == Contestant::Valence)
    }

    fn of_event(&self, of: impl Fn(&Event) -> bool) -> Option<&Cell> {
        self.valence()
            .find(|cell| self.suite[cell.scenario].events.iter().any(|(_, event)| of(event)))
    }

    fn kept(&self) -> Option<f64> {
        let runs: Vec<bool> = self
            .valence()
            .flat_map(|cell| cell.runs.iter().map(|run| run.kept))
            .collect();
        let kept = runs.iter().filter(|kept| **kept).count() as f64;
        (!runs.is_empty()).then(|| kept / runs.len() as f64)
    }

    /// Geometric mean over the scenarios in which both keep the objective, resampled over the seeds of both.
    fn ratio<'b>(&'b self, name: &'static str, most: f64, to: impl Fn(usize) -> Option<&'b Cell>) -> Verdict {
        let pairs: Vec<(&Cell, &Cell)> = self
            .valence()
            .filter(|cell| cell.feasible())
            .filter_map(|cell| Some((cell, to(cell.scenario)?)))
            .collect();
        let ratio = |(cell, other): &(&Cell, &Cell)| cell.core_hours() / other.core_hours();
        let ratios: Vec<f64> = pairs.iter().map(ratio).collect();
        let seeds = pairs.iter().map(|(cell, _)| cell.runs.len()).min().unwrap_or(0);
        let interval = (seeds > 1).then(|| {
            bootstrap::interval(seeds, |resample| {
                // The same seeds of both, as far as the other has run them.
                let of = |cell: &Cell| {
                    let runs = resample
                        .iter()
                        .map(|&seed| cell.runs[seed % cell.runs.len()].core_hours);
                    runs.sum::<f64>() / seeds as f64
                };
                let ratios: Vec<f64> = pairs.iter().map(|(cell, other)| of(cell) / of(other)).collect();
                geometric_mean(&ratios).unwrap_or(f64::NAN)
            })
        });
        Verdict {
            name,
            value: geometric_mean(&ratios),
            allowed: (f64::NEG_INFINITY, most),
            interval,
        }
    }

    fn minutes_over(&self, peer: Contestant) -> Option<f64> {
        let minutes = |cell: &Cell| cell.mean(|run| run.violation_minutes);
        let pairs = self
            .valence()
            .filter_map(|cell| Some((minutes(cell), minutes(self.results.cell(cell.scenario, peer)?))));
        let (ours, theirs) = pairs.fold((0.0, 0.0), |sum, pair| (sum.0 + pair.0, sum.1 + pair.1));
        (theirs > 0.0).then_some(ours / theirs)
    }

    fn step(&self) -> Option<f64> {
        let timed = |cell: &&Cell| {
            let scenario = &self.suite[cell.scenario];
            scenario.recovery_from.is_some() && scenario.events.is_empty()
        };
        let cell = self.valence().find(timed)?;
        let start = &self.suite[cell.scenario].profile.start;
        Some((cell.recovery_seconds()? - (start.least_seconds + start.most_seconds) / 2.0).max(0.0))
    }

    fn deploy(&self) -> Option<f64> {
        self.of_event(|event| matches!(event, Event::Deploy { .. }))?
            .recovery_seconds()
    }

    fn blind(&self) -> Option<f64> {
        let cell = self.of_event(|event| matches!(event, Event::Blackout { .. }))?;
        Some(cell.runs.iter().map(|run| run.blind_scale_ins).sum())
    }

    fn restarts(&self) -> Option<f64> {
        let runs = self.valence().flat_map(|cell| &cell.runs);
        runs.map(|run| run.size_changes).reduce(f64::max)
    }

    fn coverage(&self) -> Option<f64> {
        let runs = self.valence().flat_map(|cell| &cell.runs);
        let all = runs.filter_map(|run: &Summary| run.coverage);
        let (windows, within) = all.fold((0, 0), |sum, one| (sum.0 + one.windows, sum.1 + one.within));
        (windows > 0).then(|| within as f64 / windows as f64)
    }
}
