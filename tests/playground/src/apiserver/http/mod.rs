//! From HTTP requests to the functions that answer them, and back.

pub(crate) mod body;
mod negotiate;
mod protobuf;
pub(crate) mod request;
pub(crate) mod response;
mod route;

pub(crate) use body::read_object;
pub(crate) use negotiate::Accepted;
pub(crate) use request::{Request, Target};
pub(crate) use response::Response;
pub(crate) use route::answer;
