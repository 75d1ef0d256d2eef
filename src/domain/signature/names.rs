//! The names of the headers that carry signatures.

use http::HeaderName;

pub(super) const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
pub(super) const SVIX_ID: HeaderName = HeaderName::from_static("svix-id");
pub(super) const SVIX_TIMESTAMP: HeaderName = HeaderName::from_static("svix-timestamp");
pub(super) const SVIX_SIGNATURE: HeaderName = HeaderName::from_static("svix-signature");
pub(super) const GITHUB: HeaderName = HeaderName::from_static("x-hub-signature-256");
pub(super) const STRIPE: HeaderName = HeaderName::from_static("stripe-signature");
pub(super) const SHOPIFY: HeaderName = HeaderName::from_static("x-shopify-hmac-sha256");
pub(super) const SLACK_TIMESTAMP: HeaderName = HeaderName::from_static("x-slack-request-timestamp");
pub(super) const SLACK_SIGNATURE: HeaderName = HeaderName::from_static("x-slack-signature");
