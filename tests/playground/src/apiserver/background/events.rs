//! Events live for an hour.

use jiff::{SignedDuration, Timestamp};

use crate::apiserver::api::Api;
use crate::apiserver::object;
use crate::apiserver::store::ObjectKey;

const LIFETIME: SignedDuration = SignedDuration::from_hours(1);

/// Removes events that nobody has written for that long.
pub(super) fn expire(api: &Api) {
    let key = api.core("events");
    let (events, _) = api.store.list(&key, None);
    for event in events {
        let value = &event.value;
        let times = [
            &value["series"]["lastObservedTime"],
            &value["lastTimestamp"],
            &value["metadata"]["creationTimestamp"],
        ];
        let last = times.iter().find_map(|time| time.as_str()?.parse::<Timestamp>().ok());
        if last.is_some_and(|last| Timestamp::now().duration_since(last) > LIFETIME) {
            let name = ObjectKey::new(object::namespace(value), object::name(value));
            // Written meanwhile: it lives on.
            let _ = api.store.delete(&key, &name, event.revision);
        }
    }
}
