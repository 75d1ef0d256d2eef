//! Reads a recipe: of a preset's file, or of a source's `verify`.

use std::time::Duration;

use bytes::Bytes;
use http::header::HeaderValue;
use http::{Method, StatusCode};

use super::expression::Expression;
use super::fault::BadSource;
use super::place::Place;
use super::recipe::{
    Algorithm, AnswerRule, Condition, Encoding, Handshake, HandshakeKind, KeyForm, Layout, Piece,
    Recipe, Reply, Scheme, TimeUnit, UrlForm,
};
use super::table::{Given, Table};
use crate::domain::nearest::nearest;

/// Of signed times, unless a recipe says otherwise.
const DEFAULT_TOLERANCE: Duration = Duration::from_secs(5 * 60);

/// The keys of one way to verify.
pub const SCHEME_KEYS: [&str; 11] = [
    "algorithm",
    "key",
    "content",
    "signature",
    "prefix",
    "part",
    "version",
    "encoding",
    "timestamp",
    "unit",
    "message_id",
];

/// The keys of a recipe. Those of a scheme stand among them if there is one scheme alone.
pub const RECIPE_KEYS: [&str; 17] = [
    "schemes",
    "url_form",
    "body_sha256",
    "form_json",
    "app_id",
    "id",
    "type",
    "split_id",
    "split_type",
    "handshake",
    "answer",
    "forward_headers",
    "tolerance",
    "max_event_size",
    "optional_secrets",
    "cloudevents",
    "repeats",
];

/// Reads a recipe whose faults begin with `prefix`, such as `verify.`.
///
/// # Errors
/// The first key that is wrong.
pub(super) fn recipe(prefix: &str, given: &Given) -> Result<Recipe, BadSource> {
    let known: Vec<&'static str> = RECIPE_KEYS.into_iter().chain(SCHEME_KEYS).collect();
    let table = Table::new(prefix, given, &known)?;
    let recipe = Recipe {
        schemes: schemes(&table)?,
        url_form: table
            .word("url_form", &UrlForm::NAMES)?
            .unwrap_or(UrlForm::Whole),
        body_sha256: place(&table, "body_sha256")?,
        form_json: table.filled("form_json")?.map(Box::from),
        app_id: place(&table, "app_id")?,
        id: expression(&table, "id")?,
        event_type: expression(&table, "type")?,
        split_id: expression(&table, "split_id")?,
        split_type: expression(&table, "split_type")?,
        handshakes: table.each("handshake", &HANDSHAKE_KEYS, handshake)?,
        answers: table.each("answer", &ANSWER_KEYS, answer)?,
        forward: table
            .texts("forward_headers")?
            .unwrap_or_default()
            .into_iter()
            .map(Box::from)
            .collect(),
        tolerance: table.duration("tolerance")?.unwrap_or(DEFAULT_TOLERANCE),
        max_event_size: table.event_size("max_event_size")?,
        optional_secrets: table.flag("optional_secrets")?.unwrap_or(false),
        cloudevents: table.flag("cloudevents")?.unwrap_or(false),
        repeats: table.flag("repeats")?.unwrap_or(false),
    };
    check_coverage(&table, &recipe)?;
    Ok(recipe)
}

/// What is signed has to cover the body.
fn check_coverage(table: &Table<'_>, recipe: &Recipe) -> Result<(), BadSource> {
    let signs_url = |scheme: &Scheme| scheme.content.contains(&Piece::Url);
    let in_url = matches!(recipe.body_sha256, None | Some(Place::Query(_)));
    if recipe.body_sha256.is_some() && !(in_url && recipe.schemes.iter().all(signs_url)) {
        return Err(table.fault(
            "body_sha256",
            "this hash is not signed, and anybody can change it",
            "write such as \"query:bodySHA256\", and {url} in content",
        ));
    }
    for scheme in &recipe.schemes {
        let has = |piece: &Piece| scheme.content.contains(piece);
        let covered = has(&Piece::Body) || has(&Piece::FormSorted);
        let key = "content";
        if scheme.algorithm.has_content() && !covered {
            return Err(table.fault(
                key,
                "the body is not part of what is signed",
                "write {body} in it",
            ));
        }
        let hashes = scheme.algorithm == Algorithm::Sha256;
        if has(&Piece::Secret) != hashes {
            let (problem, fix) = match hashes {
                true => (
                    "a plain hash is no signature without the secret",
                    "write {secret} in it, or take an hmac algorithm",
                ),
                false => (
                    "the secret is the key here, and not part of what is signed",
                    "remove {secret}, or write algorithm = \"sha256\"",
                ),
            };
            return Err(table.fault(key, problem, fix));
        }
        if has(&Piece::Timestamp) && scheme.timestamps.is_empty() {
            return Err(table.fault(
                "timestamp",
                "the timestamp is signed, and nothing says where it is",
                "write such as timestamp = \"header:x-timestamp\"",
            ));
        }
        if has(&Piece::Id) && scheme.message_id.is_none() {
            return Err(table.fault(
                "message_id",
                "the id is signed, and nothing says where it is",
                "write such as message_id = \"header:x-id\"",
            ));
        }
        let outside = scheme.timestamps.iter().any(|place| !place.is_in_body());
        if outside && !has(&Piece::Timestamp) {
            return Err(table.fault(
                "timestamp",
                "this timestamp is not signed, and anybody can change it",
                "write {timestamp} in content where the provider has it, or remove this key",
            ));
        }
    }
    Ok(())
}

fn schemes(table: &Table<'_>) -> Result<Vec<Scheme>, BadSource> {
    if !table.has("schemes") {
        let has_scheme = SCHEME_KEYS.into_iter().any(|key| table.has(key));
        return match has_scheme {
            true => Ok(vec![scheme(table)?]),
            false => Ok(Vec::new()),
        };
    }
    table.each("schemes", &SCHEME_KEYS, scheme)
}

fn scheme(table: &Table<'_>) -> Result<Scheme, BadSource> {
    let algorithm = table.word("algorithm", &Algorithm::NAMES)?;
    let algorithm = algorithm.unwrap_or(Algorithm::HmacSha256);
    let signature = match place(table, "signature")? {
        Some(place) => place,
        None if algorithm == Algorithm::SalesforceAccount => {
            Place::Soap(super::soap::Field::OrganizationId)
        }
        None => {
            return Err(table.fault(
                "signature",
                "nothing says where the signature is",
                "write such as signature = \"header:x-signature\"",
            ));
        }
    };
    let content = match table.text("content")? {
        Some(text) => content(table, text)?,
        None if algorithm.has_content() => vec![Piece::Body],
        None => Vec::new(),
    };
    let default = match algorithm {
        Algorithm::Token | Algorithm::SalesforceAccount => Encoding::Text,
        _ => Encoding::Hex,
    };
    let encoding = table.word("encoding", &Encoding::NAMES)?.unwrap_or(default);
    if encoding == Encoding::Text && algorithm.has_content() {
        let fix = "write hex, base64 or base64url";
        return Err(table.fault("encoding", "only a token is sent as a text", fix));
    }
    Ok(Scheme {
        algorithm,
        key: table.word("key", &KeyForm::NAMES)?.unwrap_or(KeyForm::Text),
        content,
        signature,
        layout: layout(table)?,
        encoding,
        timestamps: places(table, "timestamp")?,
        unit: table
            .word("unit", &TimeUnit::NAMES)?
            .unwrap_or(TimeUnit::Seconds),
        message_id: place(table, "message_id")?,
    })
}

fn layout(table: &Table<'_>) -> Result<Layout, BadSource> {
    let prefixes = table.texts("prefix")?;
    let (part, version) = (table.filled("part")?, table.filled("version")?);
    match (prefixes, part, version) {
        (None, None, None) => Ok(Layout::Prefixed(vec!["".into()])),
        (Some(all), None, None) => Ok(Layout::Prefixed(all.into_iter().map(Box::from).collect())),
        (None, Some(name), None) => Ok(Layout::Part(name.into())),
        (None, None, Some(name)) => Ok(Layout::Version(name.into())),
        _ => Err(table.fault(
            "prefix",
            "prefix, part and version exclude each other",
            "keep the one that fits the header",
        )),
    }
}

/// Texts with names in braces.
fn content(table: &Table<'_>, text: &str) -> Result<Vec<Piece>, BadSource> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        if !before.is_empty() {
            pieces.push(Piece::Literal(before.into()));
        }
        let (name, after) = after.split_once('}').unwrap_or((after, ""));
        let found = Piece::NAMES.into_iter().find(|(known, _)| *known == name);
        let Some((_, piece)) = found else {
            let names = || Piece::NAMES.iter().map(|(name, _)| *name);
            let fix = match nearest(name, names()) {
                Some(meant) => format!("did you mean {{{meant}}}?"),
                None => format!(
                    "write one of {{{}}}",
                    names().collect::<Vec<_>>().join("}, {")
                ),
            };
            return Err(table.fault("content", "a name in braces is not known here", fix));
        };
        pieces.push(piece);
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Literal(rest.into()));
    }
    if pieces.len() > 32 {
        let fix = "write at most 32";
        return Err(table.fault("content", "these are too many pieces", fix));
    }
    Ok(pieces)
}

fn place(table: &Table<'_>, key: &str) -> Result<Option<Place>, BadSource> {
    let Some(text) = table.filled(key)? else {
        return Ok(None);
    };
    let read = Place::parse(text);
    read.map(Some)
        .map_err(|(problem, fix)| table.fault(key, problem, fix))
}

/// At most four: each is tried.
fn places(table: &Table<'_>, key: &str) -> Result<Vec<Place>, BadSource> {
    let texts = table.texts(key)?.unwrap_or_default();
    if texts.len() > 4 {
        return Err(table.fault(key, "these are too many places", "write at most 4"));
    }
    let read = |text: &str| {
        Place::parse(text.trim()).map_err(|(problem, fix)| table.fault(key, problem, fix))
    };
    texts.into_iter().map(read).collect()
}

/// `"header:x-event + body:/action"`, or a list of such.
fn expression(table: &Table<'_>, key: &str) -> Result<Expression, BadSource> {
    let texts = table.texts(key)?.unwrap_or_default();
    if texts.len() > 16 {
        return Err(table.fault(key, "these are too many alternatives", "write at most 16"));
    }
    let alternative = |text: &str| {
        let places = text.split(" + ").take(16).map(|text| {
            let read = Place::parse(text.trim());
            read.map_err(|(problem, fix)| table.fault(key, problem, fix))
        });
        places.collect::<Result<Vec<_>, _>>()
    };
    let read: Result<Vec<_>, _> = texts.into_iter().map(alternative).collect();
    read.map(Expression)
}

const HANDSHAKE_KEYS: [&str; 16] = [
    "kind",
    "methods",
    "when",
    "is",
    "unless",
    "empty",
    "signed",
    "from",
    "reply",
    "field",
    "header",
    "verify",
    "prefix",
    "status",
    "content_type",
    "body",
];

/// The kinds of handshakes, a closed set.
#[derive(Clone, Copy)]
enum Kind {
    Echo,
    Crc,
    PlainToken,
    Fixed,
    CloudEvents,
}

const KINDS: [(&str, Kind); 5] = [
    ("echo", Kind::Echo),
    ("crc", Kind::Crc),
    ("plain_token", Kind::PlainToken),
    ("fixed", Kind::Fixed),
    ("cloudevents", Kind::CloudEvents),
];

fn handshake(table: &Table<'_>) -> Result<Handshake, BadSource> {
    let Some(kind) = table.word("kind", &KINDS)? else {
        let fix = "write echo, crc, plain_token, fixed or cloudevents";
        return Err(table.fault("kind", "the kind is missing", fix));
    };
    let from = || {
        place(table, "from")?.ok_or_else(|| {
            let fix = "write such as from = \"query:challenge\"";
            table.fault("from", "nothing says what is sent back", fix)
        })
    };
    let kind = match kind {
        Kind::Echo => HandshakeKind::Echo {
            from: from()?,
            reply: reply(table)?,
            verify: place(table, "verify")?,
        },
        Kind::Crc => HandshakeKind::Crc {
            from: from()?,
            field: table.filled("field")?.unwrap_or("response_token").into(),
            prefix: table.text("prefix")?.unwrap_or("sha256=").into(),
        },
        Kind::PlainToken => HandshakeKind::PlainToken { from: from()? },
        Kind::Fixed => HandshakeKind::Fixed(answer(table)?),
        Kind::CloudEvents => HandshakeKind::CloudEvents,
    };
    let is_token = matches!(kind, HandshakeKind::PlainToken { .. });
    let signed = table.flag("signed")?.unwrap_or(is_token);
    if is_token && !signed {
        let problem = "this handshake signs a text, and its provider signs the request";
        return Err(table.fault("signed", problem, "remove it"));
    }
    Ok(Handshake {
        methods: methods(table, &kind)?,
        condition: condition(table)?,
        signed,
        kind,
    })
}

fn reply(table: &Table<'_>) -> Result<Reply, BadSource> {
    let words = [("text", 0), ("json", 1), ("header", 2)];
    match table.word("reply", &words)? {
        Some(1) => Ok(Reply::Json(
            table.filled("field")?.unwrap_or("challenge").into(),
        )),
        Some(2) => {
            let name = table.filled("header")?.unwrap_or_default();
            let read = name.parse().map(Reply::Header);
            read.map_err(|_| table.fault("header", "this is not a header name", "write one"))
        }
        _ => Ok(Reply::Text),
    }
}

/// GET where the text is in the query, POST else.
fn methods(table: &Table<'_>, kind: &HandshakeKind) -> Result<Vec<Method>, BadSource> {
    let words = [
        ("GET", Method::GET),
        ("HEAD", Method::HEAD),
        ("POST", Method::POST),
        ("OPTIONS", Method::OPTIONS),
    ];
    let Some(texts) = table.texts("methods")? else {
        return Ok(vec![match kind {
            HandshakeKind::CloudEvents => Method::OPTIONS,
            HandshakeKind::Echo {
                from: Place::Query(_),
                ..
            }
            | HandshakeKind::Crc { .. } => Method::GET,
            _ => Method::POST,
        }]);
    };
    let read = |text: &str| {
        let found = words.iter().find(|(word, _)| *word == text);
        found.map(|(_, method)| method.clone()).ok_or_else(|| {
            let fix = "write GET, HEAD, POST or OPTIONS";
            table.fault("methods", "this is not a method of a handshake", fix)
        })
    };
    texts.into_iter().map(read).collect()
}

fn condition(table: &Table<'_>) -> Result<Condition, BadSource> {
    Ok(Condition {
        when: place(table, "when")?,
        is: table.text("is")?.map(Box::from),
        unless: place(table, "unless")?,
        empty: table.flag("empty")?.unwrap_or(false),
    })
}

const ANSWER_KEYS: [&str; 7] = [
    "when",
    "is",
    "unless",
    "empty",
    "status",
    "content_type",
    "body",
];

fn answer(table: &Table<'_>) -> Result<AnswerRule, BadSource> {
    let status = table.number("status")?.unwrap_or(200);
    let status = StatusCode::from_u16(status).ok();
    let status = status.filter(StatusCode::is_success).ok_or_else(|| {
        let fix = "write one from 200 to 299";
        table.fault("status", "this is not a status of success", fix)
    })?;
    let content_type = table.filled("content_type")?.map(HeaderValue::from_str);
    let content_type = content_type.transpose().map_err(|_| {
        let fix = "write one such as \"text/xml\"";
        table.fault("content_type", "this is not a content type", fix)
    })?;
    Ok(AnswerRule {
        condition: condition(table)?,
        status,
        content_type,
        body: Bytes::copy_from_slice(table.text("body")?.unwrap_or_default().as_bytes()),
    })
}
