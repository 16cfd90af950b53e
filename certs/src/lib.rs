//! Certificates of the Valence webhook: a CA and a leaf that Valence issues itself, kept in a Secret, rotated with
//! overlap and reloaded without a restart.
//!
//! The Secret is the truth. Every replica runs the same loop: read the webhook configuration, then the Secret, let the
//! pure function `decide` say what is missing, do that one thing with a precondition, look again.
//! Several replicas therefore race safely: one write wins, the others read it.
//!
//! The order that keeps every handshake whole while a CA rotates:
//! 1. the new CA enters the Secret beside the old one, whose leaf goes on serving;
//! 2. the `caBundle` of the webhook configuration carries both;
//! 3. after a settling time (API servers watch the configuration) the leaf is issued by the new CA;
//! 4. when nobody can be serving the old leaf any more, the old CA leaves the Secret and then the bundle.
//!
//! A certificate that others look after (cert-manager) is served in the same way: see [`Source`].

mod bundle;
mod certificates;
mod client_authentication;
mod decide;
mod error;
mod follow;
mod issue;
mod manage;
mod material;
mod options;
mod resolver;
mod watch;

pub use certificates::{Certificates, Status, install_crypto_provider};
pub use error::Error;
pub use material::{Contents, keys};
pub use options::{ClientAuthentication, Clock, Lifetimes, Managed, Options, Source, system_clock};
