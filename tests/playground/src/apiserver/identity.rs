//! Who asks: the user that a client certificate or a bearer token stands for.

use std::collections::HashMap;

use parking_lot::RwLock;

/// A user as admission reviews name it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct User {
    /// For example `system:serviceaccount:valence-system:valence`.
    pub name: String,
    /// For example `system:masters`.
    pub groups: Vec<String>,
}

impl User {
    /// The administrator that the main kubeconfig belongs to.
    pub fn administrator() -> Self {
        Self {
            name: "kubernetes-admin".into(),
            groups: vec!["system:masters".into(), "system:authenticated".into()],
        }
    }

    /// A ServiceAccount, with the groups that Kubernetes gives it.
    pub fn service_account(namespace: &str, name: &str) -> Self {
        Self {
            name: format!("system:serviceaccount:{namespace}:{name}"),
            groups: vec![
                "system:serviceaccounts".into(),
                format!("system:serviceaccounts:{namespace}"),
                "system:authenticated".into(),
            ],
        }
    }

    /// A node's kubelet.
    pub fn node(name: &str) -> Self {
        Self {
            name: format!("system:node:{name}"),
            groups: vec!["system:nodes".into(), "system:authenticated".into()],
        }
    }

    /// Who comes without credentials.
    pub(super) fn anonymous() -> Self {
        Self {
            name: "system:anonymous".into(),
            groups: vec!["system:unauthenticated".into()],
        }
    }
}

/// Bearer tokens and the users that they stand for.
#[derive(Default)]
pub(super) struct Tokens {
    users: RwLock<HashMap<String, User>>,
    issued: RwLock<HashMap<User, String>>,
}

impl Tokens {
    /// The token of a user; the same user gets the same token.
    pub(super) fn issue(&self, user: &User) -> String {
        if let Some(token) = self.issued.read().get(user) {
            return token.clone();
        }
        let token = format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>());
        self.users.write().insert(token.clone(), user.clone());
        self.issued.write().insert(user.clone(), token.clone());
        token
    }

    /// The user of a token that this server issued.
    pub(super) fn user(&self, token: &str) -> Option<User> {
        self.users.read().get(token).cloned()
    }
}
