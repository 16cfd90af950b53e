//! Admission as a whole: which question goes where, and what is counted.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use serde::de::{Deserialize, IgnoredAny};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::metrics::{Metrics, Result as Counted};
use crate::notices::{Notice, Notices, Share, Shares};
use crate::outcome::{Outcome, Unseen};
use crate::plans::Plans;
use crate::pod::Sidecars;
use crate::reader::Quick;
use crate::recall::{Arrived, Recall, Recalled, Reply};
use crate::review::{self, Read, Request, ReviewError};
use crate::settings::Settings;
use crate::{deployment, hpa, pod, scale, service};

/// Most reviews that wait for the owner of their object to be seen; a further one is answered at once.
pub(crate) const MOST_WAITERS: usize = 64;

/// A kind of question, each with a path of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// Pods, CREATE.
    Pods,
    /// `pods/resize`, UPDATE.
    Resize,
    /// Deployments, CREATE and UPDATE.
    Deployments,
    /// `deployments/scale`, UPDATE.
    Scale,
    /// Services, CREATE and UPDATE.
    Services,
    /// HorizontalPodAutoscalers, CREATE and UPDATE.
    HorizontalPodAutoscalers,
}

impl Endpoint {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Pods,
        Self::Resize,
        Self::Deployments,
        Self::Scale,
        Self::Services,
        Self::HorizontalPodAutoscalers,
    ];

    /// Path of the endpoint.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Pods => "/mutate/pods",
            Self::Resize => "/mutate/pods/resize",
            Self::Deployments => "/mutate/deployments",
            Self::Scale => "/mutate/deployments/scale",
            Self::Services => "/mutate/services",
            Self::HorizontalPodAutoscalers => "/mutate/horizontalpodautoscalers",
        }
    }

    /// Name of the webhook in the configuration.
    #[must_use]
    pub const fn webhook(self) -> &'static str {
        match self {
            Self::Pods => "pods.valence.io",
            Self::Resize => "resize.valence.io",
            Self::Deployments => "deployments.valence.io",
            Self::Scale => "scale.valence.io",
            Self::Services => "services.valence.io",
            Self::HorizontalPodAutoscalers => "horizontalpodautoscalers.valence.io",
        }
    }

    /// Value of the `kind` label of metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Pods => "pods",
            Self::Resize => "pods/resize",
            Self::Deployments => "deployments",
            Self::Scale => "deployments/scale",
            Self::Services => "services",
            Self::HorizontalPodAutoscalers => "horizontalpodautoscalers",
        }
    }
}

/// What every decision may read.
#[derive(Clone, Copy)]
pub struct Context<'c> {
    /// The cluster and the recommender.
    pub plans: &'c dyn Plans,
    /// What the administrator chose.
    pub settings: &'c Settings,
    /// Sidecars that were injected before.
    pub sidecars: &'c Sidecars,
}

/// Admission with all that it needs.
pub struct Admission {
    plans: Arc<dyn Plans>,
    configuration: ArcSwap<Configuration>,
    metrics: Metrics,
    notices: Arc<dyn Notices>,
    shares: Shares,
    waiters: Semaphore,
    recall: Recall,
}

/// What the administrator chose, and the sidecars that were made from it.
#[derive(Default)]
struct Configuration {
    settings: Arc<Settings>,
    sidecars: Sidecars,
}

/// An answer, ready to be sent.
pub struct Answer {
    /// The AdmissionReview, as JSON.
    pub body: Vec<u8>,
    reply: Arc<Reply>,
    result: Counted,
    dry_run: bool,
    manager: String,
    user: String,
}

impl Answer {
    /// The object's owner, where the watch has not seen it yet: once it has, the answer may be another.
    #[must_use]
    pub fn unseen(&self) -> Option<&Unseen> {
        self.reply.outcome.unseen.as_ref()
    }
}

impl Configuration {
    fn of(settings: Settings) -> Self {
        Self {
            settings: Arc::new(settings),
            ..Self::default()
        }
    }

    fn context<'c>(&'c self, plans: &'c dyn Plans) -> Context<'c> {
        Context {
            plans,
            settings: &self.settings,
            sidecars: &self.sidecars,
        }
    }
}

impl Admission {
    /// Puts admission together.
    #[must_use]
    pub fn new(plans: Arc<dyn Plans>, settings: Settings, metrics: Metrics, notices: Arc<dyn Notices>) -> Self {
        Self {
            plans,
            configuration: ArcSwap::from_pointee(Configuration::of(settings)),
            metrics,
            notices,
            shares: Shares::default(),
            waiters: Semaphore::new(MOST_WAITERS),
            recall: Recall::default(),
        }
    }

    /// What the administrator chose.
    #[must_use]
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.configuration.load().settings)
    }

    /// Goes on with other settings, as after an upgrade of the cluster. What was injected before is left as it is.
    pub fn reconfigure(&self, settings: Settings) {
        self.configuration.store(Arc::new(Configuration::of(settings)));
    }

    /// Answers a review, without any effect.
    ///
    /// # Errors
    /// When there is nothing to answer.
    pub fn answer(&self, endpoint: Endpoint, body: &[u8]) -> Result<Answer, ReviewError> {
        let configuration = self.configuration.load();
        let context = configuration.context(self.plans.as_ref());
        match endpoint {
            Endpoint::Pods => self.answer_pod(&configuration, body),
            Endpoint::Resize => decide(&context, body, pod::admit_resize),
            Endpoint::Deployments => decide(&context, body, |context, request| {
                deployment::admit(context, request, body)
            }),
            Endpoint::Scale => decide(&context, body, scale::admit),
            Endpoint::Services => decide(&context, body, service::admit),
            Endpoint::HorizontalPodAutoscalers => decide(&context, body, hpa::admit),
        }
    }

    /// A new pod, of which there may have been one before: then its review need not be read.
    fn answer_pod(&self, configuration: &Configuration, body: &[u8]) -> Result<Answer, ReviewError> {
        let settings = &configuration.settings;
        if let Some(recalled) = self.recall.find(self.plans.as_ref(), settings, body)
            && self.plans.synced()
        {
            return Ok(again(recalled));
        }
        let mut request = match review::read_pod(body)? {
            Read::Whole(request) => request,
            Read::Odd(request, complaint) => return Ok(odd(&request, &complaint)),
        };
        let admitted = request.object.take().filter(|_| !request.is_update());
        let Some(mut pod) = admitted.filter(|_| self.plans.synced()) else {
            let outcome = if self.plans.synced() {
                Outcome::default()
            } else {
                not_yet()
            };
            return Ok(answer(&request, Arc::new(reply(outcome)), String::new()));
        };
        if let Some(metadata) = &mut pod.metadata {
            // Who wrote which field when is another matter with every pod, and none of admission's.
            metadata.managed_fields = None;
        }
        let arrived = Arrived {
            body,
            uid: request.uid.as_deref().unwrap_or_default(),
            namespace: request.namespace(),
            dry_run: request.is_dry_run(),
            pod: &pod,
        };
        let decide = |plans: &dyn Plans| {
            let context = configuration.context(plans);
            reply(pod::admit(&context, arrived.namespace, &pod))
        };
        let reply = self.recall.reply(self.plans.as_ref(), settings, &arrived, decide);
        Ok(answer(&request, reply, String::new()))
    }

    /// Whether the watch has seen a Deployment by now.
    #[must_use]
    pub fn has_seen(&self, owner: &Unseen) -> bool {
        self.plans.deployment(&owner.namespace, &owner.name).is_some()
    }

    /// Counts an answer that is about to be sent, and tells what it has to tell; a dry run tells nothing.
    pub fn record(&self, endpoint: Endpoint, answer: Answer, started: Instant) -> Vec<u8> {
        self.metrics
            .reviewed(endpoint, answer.result, answer.dry_run, started.elapsed());
        if answer.dry_run {
            return answer.body;
        }
        let outcome = &answer.reply.outcome;
        if outcome.injected {
            self.metrics.injected();
        }
        if outcome.overrides {
            self.metrics.overridden(&answer.manager, &answer.user);
        }
        outcome.notices.iter().for_each(|notice| self.tell(notice.clone()));
        answer.body
    }

    fn tell(&self, notice: Notice) {
        if !notice.is_of_ours(self.plans.as_ref()) {
            return;
        }
        let passed_on = match self.shares.take(&notice, Instant::now()) {
            Share::New => self.notices.notice(notice),
            Share::Told => true,
            Share::TooMany => false,
        };
        if !passed_on {
            self.metrics.dropped();
        }
    }

    /// Counts a review that could not be answered.
    pub fn refused(&self, endpoint: Endpoint, started: Instant) {
        self.metrics
            .reviewed(endpoint, Counted::Malformed, false, started.elapsed());
    }

    /// Counts a review that was not read because too many were under way.
    pub(crate) fn shed(&self, endpoint: Endpoint, started: Instant) {
        self.metrics.reviewed(endpoint, Counted::Shed, false, started.elapsed());
    }

    /// Lets a review wait for its object's owner, unless too many do.
    pub(crate) fn wait(&self) -> Option<SemaphorePermit<'_>> {
        self.waiters.try_acquire().ok()
    }
}

fn decide<'b, T: Deserialize<'b> + Quick<'b> + ManagedObject>(
    context: &Context<'_>,
    body: &'b [u8],
    admit: impl Fn(&Context<'_>, &Request<'b, T>) -> Outcome,
) -> Result<Answer, ReviewError> {
    match review::read::<T>(body)? {
        Read::Whole(request) => {
            let outcome = if context.plans.synced() {
                admit(context, &request)
            } else {
                not_yet()
            };
            let manager = if outcome.overrides {
                manager(&request)
            } else {
                String::new()
            };
            Ok(answer(&request, Arc::new(reply(outcome)), manager))
        }
        Read::Odd(request, complaint) => Ok(odd(&request, &complaint)),
    }
}

fn not_yet() -> Outcome {
    let mut outcome = Outcome::default();
    outcome.warn("not ready yet, the object is admitted as it is");
    outcome
}

/// An object that is not understood.
fn odd(request: &Request<'_, IgnoredAny>, complaint: &str) -> Answer {
    let mut outcome = Outcome::default();
    outcome.warn(format!("the object is admitted as it is: {complaint}"));
    Answer {
        result: Counted::NotUnderstood,
        ..answer(request, Arc::new(reply(outcome)), String::new())
    }
}

/// Writes an outcome down.
fn reply(mut outcome: Outcome) -> Reply {
    let rest = review::rest(&outcome.patch, &outcome.warnings);
    let patched = !std::mem::take(&mut outcome.patch).is_empty();
    Reply { outcome, rest, patched }
}

/// The answer that was given before, to another review.
fn again(recalled: Recalled<'_>) -> Answer {
    Answer {
        body: review::answer(recalled.uid, &recalled.reply.rest),
        result: changed(&recalled.reply),
        reply: recalled.reply,
        dry_run: recalled.dry_run,
        manager: String::new(),
        user: String::new(),
    }
}

fn changed(reply: &Reply) -> Counted {
    if reply.patched {
        Counted::Changed
    } else {
        Counted::Unchanged
    }
}

fn answer<T>(request: &Request<'_, T>, reply: Arc<Reply>, manager: String) -> Answer {
    let uid = request.uid.as_deref().unwrap_or_default();
    let user = request.user_info.as_ref().and_then(|user| user.username.as_deref());
    Answer {
        body: review::answer(uid, &reply.rest),
        user: if reply.outcome.overrides {
            user.unwrap_or_default().to_owned()
        } else {
            String::new()
        },
        dry_run: request.is_dry_run(),
        result: changed(&reply),
        reply,
        manager,
    }
}

/// An object that may know who wrote it last.
pub trait ManagedObject {
    /// The manager that wrote last: the client's user agent, where the client does not name one.
    fn last_manager(&self) -> Option<&str> {
        None
    }
}

impl ManagedObject for crate::view::Scale<'_> {}
impl ManagedObject for crate::view::Service<'_> {}
impl ManagedObject for crate::view::HorizontalPodAutoscaler<'_> {
    fn last_manager(&self) -> Option<&str> {
        last_manager(self.metadata.as_ref())
    }
}
impl ManagedObject for crate::view::Pod<'_> {
    fn last_manager(&self) -> Option<&str> {
        last_manager(self.metadata.as_ref())
    }
}
impl ManagedObject for crate::view::Deployment<'_> {
    fn last_manager(&self) -> Option<&str> {
        last_manager(self.metadata.as_ref())
    }
}

fn last_manager<'m>(metadata: Option<&'m crate::view::Metadata<'_>>) -> Option<&'m str> {
    let entries = metadata?.managed_fields.as_deref()?;
    let last = entries
        .iter()
        .max_by_key(|entry| entry.time.as_deref().unwrap_or_default())?;
    last.manager.as_deref()
}

/// Who asks, as a user agent: an AdmissionReview carries none, the field manager is made from it.
fn manager<T: ManagedObject>(request: &Request<'_, T>) -> String {
    let named = request
        .options
        .as_ref()
        .and_then(|options| options.field_manager.as_deref());
    let last = || request.object.as_ref().and_then(ManagedObject::last_manager);
    named
        .filter(|name| !name.is_empty())
        .or_else(last)
        .unwrap_or_default()
        .to_owned()
}
