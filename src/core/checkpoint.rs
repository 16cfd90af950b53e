//! The state of the model as one short, versioned line of text.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::demand::Demand;
use super::forecast::Forecast;
use super::latency::Capacity;
use super::memory::Memory;
use super::model::Model;
use super::objective::Objective;
use super::pace::Pace;
use super::planner::Planner;
use super::profile::Profile;
use super::reaction::Reaction;
use super::sizing::Plan;
use super::starting::Starting;
use super::tracker::{SavedTracker, Tracker};

/// Version of the format; another one is not restored.
pub const VERSION: u32 = 1;
/// Most characters of a checkpoint: it lives in the status of a Kubernetes object.
pub const MOST_BYTES: usize = 8 * 1024;
/// Significant digits of a number.
const DIGITS: i32 = 4;
/// The same for the sums that a line is drawn from: their differences are small.
const SUM_DIGITS: i32 = 9;
/// What holds such sums.
const SUMS: [&str; 2] = ["demands", "line"];

/// Why a checkpoint could not be restored. The model then starts cold.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// It was written by another version.
    #[error("checkpoint has version {found:?}, this build reads version {VERSION}")]
    Version {
        /// What stands before the first colon.
        found: String,
    },
    /// It cannot be read.
    #[error("checkpoint cannot be read: {0}")]
    Malformed(#[from] serde_json::Error),
    /// A number in it is out of range.
    #[error("checkpoint holds a value out of range: {0}")]
    Invalid(&'static str),
}

/// Everything that a restart must not lose.
#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    /// Trackers with the percentile and response time that they belong to.
    trackers: Vec<(f64, f64, SavedTracker)>,
    demands: BTreeMap<String, Demand>,
    memories: BTreeMap<String, Memory>,
    forecast: Forecast,
    profile: Option<Profile>,
    starting: Starting,
    capacity: Capacity,
    template: String,
    since: f64,
    drift_at: f64,
    #[serde(default)]
    changed_at: f64,
    #[serde(default)]
    cpu_at: f64,
    highest_load: f64,
    most_used: f64,
    request: f64,
    limit: f64,
    pace: Pace,
    reaction: Reaction,
    plan: Option<Plan>,
    replicas: Option<u32>,
    trusted: f64,
    sized_at: f64,
    #[serde(default)]
    sized_before: f64,
    #[serde(default)]
    memory_raised_at: f64,
    larger: Option<Plan>,
}

impl Saved {
    /// Leaves something out: what is least missed and still there. `false` when nothing is left to be left out.
    fn shorten(&mut self) -> bool {
        if self.profile.take().is_some() {
            return true;
        }
        if self.demands.len() > 1 {
            let load = self.highest_load;
            keep_half(&mut self.demands, |demand| demand.cpu(load));
        } else if self.memories.len() > 1 {
            keep_half(&mut self.memories, Memory::worth);
        } else {
            return self.trackers.pop().is_some();
        }
        true
    }
}

impl Saved {
    /// Leaves out of what was written before what was left out since: to write it anew takes several times as long.
    fn leave_out_of(&self, value: &mut Value) {
        let without = |value: &mut Value, known: &dyn Fn(&str) -> bool| {
            if let Some(containers) = value.as_object_mut() {
                containers.retain(|name, _| known(name));
            }
        };
        if self.profile.is_none() {
            value["profile"] = Value::Null;
        }
        without(&mut value["demands"], &|name| self.demands.contains_key(name));
        without(&mut value["memories"], &|name| self.memories.contains_key(name));
        if let Some(trackers) = value["trackers"].as_array_mut() {
            trackers.truncate(self.trackers.len());
        }
    }
}

/// Keeps the half of the containers of which `worth` is the highest.
fn keep_half<T>(containers: &mut BTreeMap<String, T>, worth: impl Fn(&T) -> f64) {
    let mut names: Vec<(f64, String)> = containers
        .iter()
        .map(|(name, one)| (worth(one), name.clone()))
        .collect();
    names.sort_by(|a, b| a.0.total_cmp(&b.0));
    for (_, name) in &names[..names.len().div_ceil(2)] {
        containers.remove(name);
    }
}

/// Writes the checkpoint. Should it be too long, what is least missed goes first: the profile of the day, then what is known
/// of the containers that use least, then the trackers of the last objectives.
#[must_use]
pub fn write(model: &Model, planner: &Planner, objectives: &[Objective]) -> String {
    let mut saved = save(model, planner, objectives);
    let mut value = rounded(serde_json::to_value(&saved).unwrap_or_default(), DIGITS);
    loop {
        let text = format!("v{VERSION}:{value}");
        if text.len() < MOST_BYTES {
            return text;
        }
        if !saved.shorten() {
            return String::new();
        }
        saved.leave_out_of(&mut value);
    }
}

/// Reads what [`write`] wrote.
///
/// # Errors
/// When it is of another version or damaged.
pub fn read(text: &str, objectives: &[Objective]) -> Result<(Model, Planner), CheckpointError> {
    let (version, body) = text.split_once(':').unwrap_or((text, ""));
    if version != format!("v{VERSION}") {
        return Err(CheckpointError::Version {
            found: version.chars().take(16).collect(),
        });
    }
    let saved: Saved = serde_json::from_str(body)?;
    if saved.profile.as_ref().is_some_and(|profile| !profile.valid()) {
        return Err(CheckpointError::Invalid("profile"));
    }
    if !(saved.request >= 0.0 && saved.trusted >= 0.0 && saved.highest_load >= 0.0) {
        return Err(CheckpointError::Invalid("request, trusted or highest_load"));
    }
    Ok(load(saved, objectives))
}

fn save(model: &Model, planner: &Planner, objectives: &[Objective]) -> Saved {
    let trackers = objectives.iter().zip(&model.trackers);
    Saved {
        trackers: trackers
            .map(|(objective, tracker)| (objective.percentile, objective.response_time_seconds, tracker.save()))
            .collect(),
        demands: model.demands.clone(),
        memories: model.memories.clone(),
        forecast: model.forecast.clone(),
        profile: model.profile.worth_keeping().then(|| model.profile.clone()),
        starting: model.starting,
        capacity: model.capacity,
        template: model.template.clone(),
        since: model.since,
        drift_at: model.drift_at,
        changed_at: model.changed_at,
        highest_load: model.highest_load,
        most_used: model.most_used,
        cpu_at: model.cpu_at,
        request: model.request,
        limit: model.limit,
        pace: planner.pace.clone(),
        reaction: planner.reaction,
        plan: planner.plan.clone(),
        replicas: planner.replicas,
        trusted: planner.trusted,
        sized_at: planner.sized_at[0],
        sized_before: planner.sized_at[1],
        memory_raised_at: planner.memory_raised_at,
        larger: planner.larger.clone(),
    }
}

fn load(saved: Saved, objectives: &[Objective]) -> (Model, Planner) {
    let mut kept = saved.trackers;
    let trackers = objectives.iter().map(|objective| {
        let same = kept.iter().position(|(percentile, seconds, _)| {
            (percentile - objective.percentile).abs() < 1e-6
                && (seconds / objective.response_time_seconds - 1.0).abs() < 1e-4
        });
        same.map_or_else(Tracker::default, |index| Tracker::load(kept.swap_remove(index).2))
    });
    let model = Model {
        trackers: trackers.collect(),
        demands: saved.demands,
        memories: saved.memories,
        forecast: saved.forecast,
        profile: saved.profile.unwrap_or_default(),
        starting: saved.starting,
        capacity: saved.capacity,
        template: saved.template,
        since: saved.since,
        drift_at: saved.drift_at,
        changed_at: saved.changed_at,
        highest_load: saved.highest_load,
        most_used: saved.most_used,
        cpu_at: saved.cpu_at,
        request: saved.request,
        limit: saved.limit,
        settled: (saved.request, saved.limit),
        ..Model::default()
    };
    let planner = Planner {
        pace: saved.pace,
        reaction: saved.reaction,
        plan: saved.plan,
        replicas: saved.replicas,
        trusted: saved.trusted,
        sized_at: [saved.sized_at, saved.sized_before],
        memory_raised_at: saved.memory_raised_at,
        larger: saved.larger,
        ..Planner::default()
    };
    (model, planner)
}

/// The same value with its floats cut to a few digits, so that the text is short.
fn rounded(value: Value, digits: i32) -> Value {
    match value {
        Value::Number(number) if number.is_f64() => short(number.as_f64().unwrap_or(0.0), digits),
        Value::Array(values) => Value::Array(values.into_iter().map(|value| rounded(value, digits)).collect()),
        Value::Object(fields) => {
            let digits = |name: &str| if SUMS.contains(&name) { SUM_DIGITS } else { digits };
            let fields = fields.into_iter();
            Value::Object(
                fields
                    .map(|(name, value)| {
                        let digits = digits(&name);
                        (name, rounded(value, digits))
                    })
                    .collect(),
            )
        }
        other => other,
    }
}

/// Below this a number is the noise of rounding, and its digits could not be counted without overflow.
const NOISE: f64 = 1e-30;

/// From a hundred thousand on (instants, bytes) numbers keep whole units at least, below that so many digits.
fn short(value: f64, digits: i32) -> Value {
    if value.abs() < NOISE || value.abs() >= 10_f64.powi(digits + 1) {
        return Value::from(value.round() as i64);
    }
    let scale = 10_f64.powi(digits - 1 - value.abs().log10().floor() as i32);
    let cut = (value * scale).round() / scale;
    if cut.fract() == 0.0 {
        Value::from(cut as i64)
    } else {
        Value::from(cut)
    }
}
