//! Certificates of the Valence webhook.
