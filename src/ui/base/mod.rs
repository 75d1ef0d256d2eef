//! What pages of any kind share.

pub mod admit;
pub mod assets;
pub mod brand;
pub mod failed;
pub mod form;
pub mod form_token;
pub mod headers;
pub mod login_rate;
pub mod names;
pub mod sessions;
pub mod shell;
pub mod site;
pub mod view;
pub mod visit;
