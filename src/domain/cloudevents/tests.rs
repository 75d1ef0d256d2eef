//! CloudEvents in and out.

mod consent;
mod properties;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::binary::{decode, encode};
use super::*;
use crate::domain::json::Json;
use crate::domain::time::Timestamp;

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn read(text: &str) -> CloudEvent {
    parse_structured(&bytes(text)).unwrap()
}

fn fault(text: &str) -> String {
    parse_structured(&bytes(text)).unwrap_err().to_string()
}

/// An event with these members beside the required ones, which take 55 bytes.
fn with(members: &str) -> String {
    format!(r#"{{"specversion":"1.0","id":"1","source":"/a","type":"t",{members}}}"#)
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

type Pairs<'a> = &'a [(&'a str, &'a str)];

const REQUIRED: [(&str, &str); 4] = [
    ("ce-specversion", "1.0"),
    ("ce-id", "1"),
    ("ce-source", "/a"),
    ("ce-type", "t"),
];

fn binary_with(pairs: &[(&str, &str)], body: &str) -> Result<CloudEvent, BadCloudEvent> {
    let all = [&REQUIRED[..], pairs].concat();
    parse_binary(&headers(&all), &bytes(body))
}

fn extension(name: &str, value: Value) -> (AttributeName, Value) {
    (AttributeName::new(name).unwrap(), value)
}

fn text(value: &str) -> Value {
    Value::String(value.into())
}

/// Without characters that JSON escapes it is never too little, and by a name for each member too much.
#[test]
fn its_size_is_about_that_of_its_json() {
    let members = r#""subject":"s","time":"2018-04-05T17:31:00Z","datacontenttype":"text/plain",
        "dataschema":"https://example.com/a","abcdefghij0123456789":"x","flag":false,
        "number":-2147483648"#;
    for (members, count) in [(r#""subject":"s""#, 5), (members, 11)] {
        let event = parse_structured(&bytes(&with(members))).unwrap();
        let length = structured(&event).len();
        let most = length + 20 * count;
        assert!(
            (length..=most).contains(&event.size()),
            "{length} {event:?}"
        );
    }
}

/// Examples of the JSON event format, 3.2, in both modes.
#[test]
fn the_examples_of_the_specification_are_the_same_in_both_modes() {
    let context = r#"
        "specversion" : "1.0",
        "type" : "com.example.someevent",
        "source" : "/mycontext",
        "id" : "A234-1234-1234",
        "time" : "2018-04-05T17:31:00Z",
        "comexampleextension1" : "value",
        "comexampleothervalue" : 5,
        "unsetextension": null,
        "subject": null"#;
    let (thrift, xml) = ("application/vnd.apache.thrift.binary", "application/xml");
    let object = "{\n  \"appinfoA\" : \"abc\",\n  \"appinfoB\" : 123\n}";
    let cases = [
        (
            format!(r#""datacontenttype":"{thrift}","data_base64":"AAEC""#),
            thrift,
            "\0\u{1}\u{2}",
        ),
        (
            format!(r#""data":"<much wow=\"xml\"/>","datacontenttype":"{xml}""#),
            xml,
            "<much wow=\"xml\"/>",
        ),
        (
            format!(r#""datacontenttype":"application/json","data":{object}"#),
            "application/json",
            object,
        ),
        (
            r#""data" : "I'm just a string""#.to_owned(),
            "application/json",
            r#""I'm just a string""#,
        ),
    ];
    for (data, content_type, body) in cases {
        let event = read(&format!("{{{context},\n{data}}}"));
        assert_eq!(event.event_type.as_ref(), "com.example.someevent");
        assert_eq!(event.time.as_deref(), Some("2018-04-05T17:31:00Z"));
        assert_eq!(event.subject, None);
        assert_eq!(
            event.extension("comexampleothervalue"),
            Some(&Value::Integer(5))
        );
        assert_eq!(event.extension("unsetextension"), None);
        let sent = binary(&event).unwrap();
        assert_eq!(sent.body, body);
        assert_eq!(sent.content_type.as_ref().unwrap(), content_type);
        let expected = headers(&[
            ("ce-specversion", "1.0"),
            ("ce-type", "com.example.someevent"),
            ("ce-source", "/mycontext"),
            ("ce-id", "A234-1234-1234"),
            ("ce-time", "2018-04-05T17:31:00Z"),
            ("ce-comexampleextension1", "value"),
            ("ce-comexampleothervalue", "5"),
        ]);
        assert_eq!(HeaderMap::from_iter(sent.headers), expected);
        let mut came = expected;
        came.insert("content-type", sent.content_type.unwrap());
        let again = parse_binary(&came, &sent.body).unwrap();
        assert_eq!(again.data, event.data);
        assert_eq!(again.extension("comexampleothervalue"), Some(&text("5")));
    }
}

#[test]
fn header_values_are_encoded_as_the_specification_shows() {
    let encoded = "Euro%20%E2%82%AC%20%F0%9F%98%80";
    assert_eq!(encode("Euro € 😀"), encoded);
    assert_eq!(encode("a\"%~!\u{7f}"), "a%22%25~!%7F");
    let decoded = |text: &str| decode(text.as_bytes());
    assert_eq!(decoded(encoded).unwrap(), "Euro € 😀");
    assert_eq!(decoded("%e2%82%ac%41").unwrap(), "€A");
    assert_eq!(decoded("Euro €").unwrap(), "Euro €");
    assert_eq!(decoded(r#""a \"b\" \\ %22 c""#).unwrap(), "a \"b\" \\ \" c");
    assert_eq!(decoded(r#"a"b"#).unwrap(), "a\"b");
    for (bad, why) in [
        ("%C0%A0", BadAttribute::NotUtf8),
        ("%E2%82", BadAttribute::NotUtf8),
        ("100%", BadAttribute::Percent),
        ("%2", BadAttribute::Percent),
        ("%+1", BadAttribute::Percent),
        ("\"a", BadAttribute::Quotes),
        ("\"a\" b", BadAttribute::Quotes),
        ("\"a\\", BadAttribute::Quotes),
        ("\"", BadAttribute::Quotes),
    ] {
        assert_eq!(decoded(bad), Err(why), "{bad}");
    }
    assert_eq!(decode(b"\xff"), Err(BadAttribute::NotUtf8));
}

#[test]
fn json_data_stays_as_it_was_written() {
    let data = "{\"id\": 123456789012345678901, \"a\":1, \"a\":2,\r\n \"x\":[1.0e0, \"\\u00e4\"]}";
    let event = read(&with(&format!("\"data\" : {data} ")));
    assert_eq!(event.data, Data::Json(bytes(data)));
    let sent = structured(&event);
    let tail = format!("\"data\":{data}}}");
    assert!(sent.ends_with(tail.as_bytes()));
    assert_eq!(parse_structured(&sent.into()).unwrap(), event);
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let event = read(&with(&format!("\"data\":{deep}")));
    assert_eq!(event.data, Data::Json(bytes(&deep)));
}

#[test]
fn null_is_data_and_no_attribute() {
    let null = Data::Json(bytes("null"));
    assert_eq!(read(&with("\"data\":null")).data, null);
    assert_eq!(read(&with("\"data\":null,\"data_base64\":null")).data, null);
    assert_eq!(read(&with("\"data_base64\":null")).data, Data::None);
    let xml = read(&with(r#""datacontenttype":"text/xml","data":null"#));
    assert_eq!(xml.data, Data::None);
    let event = read(&with(r#""time":null,"dataschema":null,"Any Name":null"#));
    assert_eq!((event.time, event.dataschema), (None, None));
    assert!(event.extensions.is_empty());
}

#[test]
fn encoded_json_is_json() {
    let event = read(&with(
        r#""datacontenttype":"application/a+JSON; x=y","data_base64":"eyAiYSI6MSB9""#,
    ));
    assert_eq!(event.data, Data::Json(bytes("{ \"a\":1 }")));
    let event = read(&with(r#""data_base64":"eyAiYSI6MSB9""#));
    assert_eq!(event.data, Data::Opaque(bytes("{ \"a\":1 }")));
    assert_eq!(event.content_type(), Some("application/octet-stream"));
}

#[test]
fn refusals_name_the_field_the_place_and_the_fix() {
    let many = |n: usize| {
        let members: Vec<String> = (0..n).map(|n| format!("\"x{n}\":1")).collect();
        members.join(",")
    };
    let long = |n: usize| "a".repeat(n);
    let cases: Vec<(String, &str)> = vec![
        (
            "{}".into(),
            "missing field `specversion` at line 1 column 1",
        ),
        (
            r#"{"specversion":"1.0","id":"1","type":"t"}"#.into(),
            "missing field `source` at line 1 column 1",
        ),
        (
            "[]".into(),
            "invalid type: sequence, expected a CloudEvent object at line 1 column 0",
        ),
        (
            "7".into(),
            "invalid type: integer `7`, expected a CloudEvent object at line 1 column 1",
        ),
        ("".into(), "EOF while parsing a value at line 1 column 0"),
        ("{} x".into(), "trailing characters at line 1 column 4"),
        (
            "{\"a\":}".into(),
            "field `a`: expected value at line 1 column 6",
        ),
        (
            "{\n \"data\": {]}".into(),
            "field `data`: key must be a string at line 2 column 11",
        ),
        (
            r#"{"specversion":"0.3"}"#.into(),
            "field `specversion`: version `0.3` is not supported; send 1.0 at line 1 column 16",
        ),
        (
            r#"{"specversion":1.0}"#.into(),
            "field `specversion`: invalid type: number, expected a string at line 1 column 16",
        ),
        (
            with("\"id\":\"2\""),
            "duplicate field `id` at line 1 column 61",
        ),
        (
            with("\"a\":null,\"a\":null"),
            "duplicate field `a` at line 1 column 69",
        ),
        (with("\"\\u0061\":1,\"a\":1"), "duplicate field `a`"),
        (
            with("\n \"dataVersion\": 1"),
            "field `dataVersion`: the name of an attribute is 1 to 20 of a-z 0-9; rename it or \
             move it into `data` at line 2 column 17",
        ),
        (with("\"\":1"), "the name of an attribute"),
        (
            with(&format!("\"{}\":1", long(21))),
            "the name of an attribute",
        ),
        (
            with("\"\\ud800\":1"),
            "unexpected end of hex escape at line 1 column 63",
        ),
        (
            with("\"x\":1.5"),
            "field `x`: not an integer from -2147483648 to 2147483647; write other numbers as \
             strings at line 1 column 60",
        ),
        (with("\"x\":1e3"), "not an integer"),
        (with("\"x\":2147483648"), "not an integer"),
        (
            with("\"x\":{}"),
            "field `x`: invalid type: object, expected a string, an integer or a boolean; \
             structures belong into `data`",
        ),
        (with("\"x\":[]"), "invalid type: array"),
        (
            with("\"subject\":true"),
            "field `subject`: invalid type: boolean, expected a string",
        ),
        (
            with("\"subject\":\"\""),
            "field `subject`: it is empty; give it a value or leave it out",
        ),
        (
            with("\"x\":\"a\\nb\""),
            "field `x`: it contains U+000A; control characters",
        ),
        (with("\"x\":\"\u{85}\""), "it contains U+0085"),
        (with("\"x\":\"\u{fdd0}\""), "it contains U+FDD0"),
        (with("\"x\":\"\u{1ffff}\""), "it contains U+1FFFF"),
        (
            with("\"x\":\"\\uDEAD\""),
            "field `x`: its string cannot be read (lone",
        ),
        (
            with("\"time\":\"yesterday\""),
            "field `time`: not an RFC 3339 time such as 2030",
        ),
        (
            with("\"dataschema\":\"/a\""),
            "field `dataschema`: not an absolute URI",
        ),
        (
            with("\"datacontenttype\":\"json\""),
            "field `datacontenttype`: not a media type",
        ),
        (with("\"datacontenttype\":\"a/b; ä\""), "not a media type"),
        (
            with("\"data\":1,\"data_base64\":\"\""),
            "field `data_base64`: `data` and `data_base64` cannot both be given; keep one",
        ),
        (
            with("\"data_base64\":\"a\""),
            "field `data_base64`: not a string of standard base64",
        ),
        (with("\"data_base64\":7"), "not a string of standard base64"),
        (
            with(r#""datacontenttype":"text/xml","data":{}"#),
            "field `data`: invalid type: object, expected a string, since `datacontenttype` is",
        ),
        (
            with(r#""datacontenttype":"text/xml; charset=iso-8859-1","data":"ä""#),
            "field `data`: the charset of `datacontenttype` is not UTF-8; send the encoded",
        ),
        (
            with(r#""datacontenttype":"a/json","data_base64":"ew==""#),
            "field `data_base64`: the content type declares JSON, but the data is not JSON (EOF",
        ),
        (
            with(&many(33)),
            "field `x32`: more than 32 extension attributes; move some",
        ),
        (
            with(&many(40)),
            "more than 32 extension attributes; move some into `data` at line 1",
        ),
        (
            with(&format!("\"a\":\"{}\",\"b\":\"{}\"", long(4000), long(97))),
            "field `b`: the values of extension attributes are longer than 4096 bytes",
        ),
        (
            with(&format!("\"subject\":\"{}\"", long(1025))),
            "it is longer than 1024 bytes",
        ),
        (
            format!(
                r#"{{"specversion":"1.0","id":"{0}","source":"{0}","type":"t"}}"#,
                long(513)
            ),
            "field `id`: `source` and `id` are longer than 1024 bytes together",
        ),
        (
            r#"{"id":null}"#.into(),
            "field `id`: it is required and cannot be null at line 1 col",
        ),
    ];
    for (text, expected) in cases {
        let fault = fault(&text);
        assert!(fault.contains(expected), "{text}\n{fault}\n{expected}");
        assert!(fault.len() < 400, "{fault}");
    }
    let fault = parse_structured(&Bytes::from_static(b"{\n\"\xff\":1}")).unwrap_err();
    assert_eq!(
        fault.to_string(),
        "the body is not UTF-8 at line 2 column 2"
    );
}

#[test]
fn a_source_is_a_uri_reference() {
    for good in [
        "https://github.com/cloudevents",
        "mailto:cncf-wg-serverless@lists.cncf.io",
        "urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66",
        "cloudevents/spec/pull/123",
        "/sensors/tn-1234567/alerts",
        "1-555-123-4567",
        "a/b:c?d#e",
        "./1:2",
        "?x",
        "#x",
        "https://[::1]/%20",
    ] {
        assert_eq!(check_source(good), Ok(()), "{good}");
    }
    for bad in [
        "a b", "ä", "a\"", "<a>", "{a}", "a\\b", "a|b", "a^b", "a`b", "%", "%2", "%zz", "a#b#c",
        "1:2", ":a", "a_b:c",
    ] {
        assert_eq!(check_source(bad), Err(BadAttribute::UriReference), "{bad}");
    }
    assert_eq!(check_source(""), Err(BadAttribute::Empty));
    for (time, good) in [
        ("1969-07-20T20:17:40.123456789Z", true),
        ("9999-12-31T23:59:59-01:00", true),
        ("2026-02-30T00:00:00Z", false),
        ("2026-01-01", false),
    ] {
        let event = parse_structured(&bytes(&with(&format!("\"time\":\"{time}\""))));
        assert_eq!(event.is_ok(), good, "{time}");
        if let Ok(event) = event {
            assert_eq!(event.time.as_deref(), Some(time));
        }
    }
}

#[test]
fn a_batch_names_the_event_at_fault() {
    let batch = |text: &str| parse_batch(&bytes(text), 3);
    let fault = |text: &str| batch(text).unwrap_err();
    let good = with("\"data\":[1]");
    assert_eq!(batch(" [ ] ").unwrap(), vec![]);
    assert_eq!(batch(&format!("[{good},{good}]")).unwrap().len(), 2);
    let bad = fault(&format!("[{good},\n  {{\"id\":\"\"}}]"));
    assert_eq!(bad.index, Some(1));
    assert_eq!(
        bad.to_string(),
        "event [1]: field `id`: it is empty; give it a value or leave it out at line 2 column 9"
    );
    let bad = fault(&format!("[{good},\n  {{\n\"\\ud800\":1}}]"));
    assert_eq!(bad.index, Some(1));
    assert!(bad.to_string().ends_with("at line 3 column 8"), "{bad}");
    let bad = fault(&format!("[{good},\n {{\"\\ud800\":1}}]"));
    assert!(bad.to_string().ends_with("at line 2 column 10"), "{bad}");
    let bad = fault(&format!("[\n7,{good}]"));
    assert_eq!(
        bad.to_string(),
        "event [0]: invalid type: integer `7`, expected a CloudEvent object at line 2 column 1"
    );
    let bad = fault(&format!("[{good},{{]"));
    assert_eq!(bad.index, Some(1));
    assert_eq!(fault(&format!("[{good}] x")).index, None);
    assert_eq!(
        fault(&good).to_string(),
        "invalid type: map, expected an array of CloudEvent objects at line 1 column 0"
    );
    let many = format!("[{}]", [&*good; 4].join(","));
    assert_eq!(fault(&many).problem, Problem::TooManyEvents { limit: 3 });
}

#[test]
fn the_binary_mode_is_read() {
    let event = binary_with(
        &[
            ("content-type", "application/json; charset=utf-8"),
            ("CE-Subject", "Euro%20%E2%82%AC"),
            ("ce-traceparent", "\"00 01\""),
            ("x-other", "%"),
        ],
        " {\"a\": 1}\n",
    )
    .unwrap();
    assert_eq!(event.subject.as_deref(), Some("Euro €"));
    assert_eq!(event.extensions, [extension("traceparent", text("00 01"))]);
    assert_eq!(event.data, Data::Json(bytes(" {\"a\": 1}\n")));
    let event = binary_with(&[("content-type", "application/json")], "").unwrap();
    assert_eq!(event.data, Data::None);
    let event = binary_with(&[], "x").unwrap();
    assert_eq!(
        (event.data, event.datacontenttype),
        (Data::Opaque(bytes("x")), None)
    );
}

#[test]
fn refusals_of_the_binary_mode_name_the_header() {
    let fault = |pairs: &[(&str, &str)], body| binary_with(pairs, body).unwrap_err().to_string();
    let cases: [(Pairs<'_>, &str, &str); 9] = [
        (
            &[("ce-a", "%")],
            "",
            "header `ce-a`: `%` must be followed by two hexadecimal digits",
        ),
        (
            &[("ce-a-b", "1")],
            "",
            "header `ce-a-b`: the name of an attribute is 1 to 20",
        ),
        (
            &[("ce-", "1")],
            "",
            "header `ce-`: the name of an attribute",
        ),
        (
            &[("ce-a", "1"), ("ce-a", "1")],
            "",
            "duplicate header `ce-a`",
        ),
        (
            &[("ce-time", "%20")],
            "",
            "header `ce-time`: not an RFC 3339 time",
        ),
        (
            &[("ce-data", "1")],
            "",
            "header `ce-data`: `data` cannot be an attribute",
        ),
        (
            &[("ce-datacontenttype", "a/b")],
            "",
            "header `ce-datacontenttype`: in the binary mode the header `content-type` stands",
        ),
        (
            &[("content-type", "json")],
            "",
            "header `content-type`: not a media type",
        ),
        (
            &[("content-type", "a/x+json")],
            "{\n]",
            "the content type declares JSON, but the data is not JSON (key must be a string) at \
             line 2 column 1",
        ),
    ];
    for (pairs, body, expected) in cases {
        let fault = fault(pairs, body);
        assert!(fault.contains(expected), "{fault}\n{expected}");
    }
    for (n, (name, _)) in REQUIRED.iter().enumerate() {
        let mut left = REQUIRED.to_vec();
        left.remove(n);
        let fault = parse_binary(&headers(&left), &Bytes::new()).unwrap_err();
        assert_eq!(fault.to_string(), format!("missing header `{name}`"));
    }
}

#[test]
fn the_mode_follows_the_content_type() {
    let mode = |pairs: &[(&str, &str)]| Mode::of(&headers(pairs));
    let of = |content_type| mode(&[("content-type", content_type), ("ce-specversion", "1.0")]);
    assert_eq!(
        of("Application/CloudEvents+JSON; charset=utf-8"),
        Ok(Some(Mode::Structured))
    );
    assert_eq!(
        of("application/cloudevents-batch+json"),
        Ok(Some(Mode::Batch))
    );
    assert_eq!(of("application/json"), Ok(Some(Mode::Binary)));
    assert_eq!(mode(&[("ce-specversion", "1.0")]), Ok(Some(Mode::Binary)));
    assert_eq!(mode(&[("content-type", "application/json")]), Ok(None));
    assert_eq!(mode(&[]), Ok(None));
    let fault = of("application/cloudevents+avro").unwrap_err().to_string();
    assert!(
        fault.contains("`application/cloudevents+avro` is not understood"),
        "{fault}"
    );
}

#[test]
fn opaque_data_is_a_string_only_as_text_in_utf_8() {
    let sent = |content_type: Option<&str>, data: &[u8]| {
        let mut event = read(&with("\"subject\":\"s\""));
        event.datacontenttype = content_type.map(Into::into);
        event.data = Data::Opaque(Bytes::copy_from_slice(data));
        let json = Json::parse(&structured(&event)).unwrap();
        let field = |name| json.get(name).and_then(Json::as_str).map(str::to_owned);
        (field("data"), field("data_base64"))
    };
    let string = |text: &str| (Some(text.to_owned()), None);
    let base64 = |text: &str| (None, Some(text.to_owned()));
    assert_eq!(
        sent(Some("text/csv"), "a,\"€\"\n".as_bytes()),
        string("a,\"€\"\n")
    );
    assert_eq!(
        sent(Some("Text/Plain; charset=\"UTF-8\""), b"a"),
        string("a")
    );
    assert_eq!(
        sent(Some("text/plain; charset=iso-8859-1"), b"a"),
        base64("YQ==")
    );
    assert_eq!(sent(Some("text/plain"), b"\xff"), base64("/w=="));
    assert_eq!(sent(Some("text/json"), b"a"), base64("YQ=="));
    assert_eq!(sent(Some("application/xml"), b"a"), base64("YQ=="));
    assert_eq!(sent(None, b"a"), base64("YQ=="));
}

fn accepted<'a>() -> Accepted<'a> {
    Accepted {
        id: "evt_01",
        tenant: "t1",
        event_type: "order.created",
        key: Some("order 7"),
        accepted_at: Timestamp::from_millis(1_767_225_600_007),
        content_type: None,
        data: Data::Json(bytes("{\"id\": 7}")),
    }
}

#[test]
fn an_event_of_outboxd_goes_out_as_one() {
    let event = outgoing(accepted(), None, None);
    assert_eq!(
        String::from_utf8(structured(&event)).unwrap(),
        r#"{"specversion":"1.0","id":"evt_01","source":"/outboxd/t1","type":"order.created","subject":"order 7","time":"2026-01-01T00:00:00.007Z","datacontenttype":"application/json","partitionkey":"order 7","data":{"id": 7}}"#
    );
    let sent = binary(&event).unwrap();
    let subject = HeaderValue::from_static("order%207");
    assert!(
        sent.headers
            .contains(&(HeaderName::from_static("ce-subject"), subject))
    );
    assert_eq!(sent.content_type.unwrap(), "application/json");

    let opaque = Accepted {
        key: Some("a\nb"),
        content_type: Some("text/plain"),
        data: Data::of(Some("text/plain"), bytes("hi")),
        ..accepted()
    };
    let event = outgoing(opaque, None, Some("https://example.com/shop"));
    assert_eq!(
        String::from_utf8(structured(&event)).unwrap(),
        r#"{"specversion":"1.0","id":"evt_01","source":"https://example.com/shop","type":"order.created","time":"2026-01-01T00:00:00.007Z","datacontenttype":"text/plain","data":"hi"}"#
    );
}

#[test]
fn one_that_came_in_goes_out_as_it_came() {
    let came = read(&with(
        r#""subject":"s","time":"2026-01-01T00:00:00.123456789+01:00","dataschema":"https://a.example/s#1","n":-7,"b":true,"data":{"id": 7}"#,
    ));
    let mut stored = came.clone();
    stored.data = Data::None;
    // The attributes can be kept as an event without data.
    let stored = parse_structured(&structured(&stored).into()).unwrap();
    assert_eq!(outgoing(accepted(), Some(&stored), Some("/x")), came);
}

#[test]
fn data_is_json_only_if_it_is_declared_and_valid() {
    let of = |content_type, body| Data::of(content_type, bytes(body));
    assert_eq!(of(Some("a/b+json"), "{}"), Data::Json(bytes("{}")));
    assert_eq!(of(Some("application/json"), "{"), Data::Opaque(bytes("{")));
    assert_eq!(of(Some("text/plain"), "{}"), Data::Opaque(bytes("{}")));
    assert_eq!(of(None, "{}"), Data::Opaque(bytes("{}")));
    assert_eq!(of(None, ""), Data::None);
}

#[test]
fn an_identity_is_unambiguous() {
    assert_ne!(identity("a", "bc"), identity("ab", "c"));
    assert_ne!(identity("a", "b"), identity("b", "a"));
    // Stored: it must never change.
    let start = identity("/a", "1")[..4].to_vec();
    assert_eq!(start, GOLDEN);
}

/// Of SHA-256, computed by another program.
const GOLDEN: [u8; 4] = [0xf6, 0x0e, 0x61, 0xe0];
