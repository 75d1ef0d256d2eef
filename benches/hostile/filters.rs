//! Filters that are as dear as can be, each with the event over which it is.

const MIB: usize = 1024 * 1024;

fn repeated(item: &str) -> String {
    let count = MIB / (item.len() + 1);
    format!("[{}]", vec![item; count].join(","))
}

/// Conditions and values, both of the field `a`; values have almost a mebibyte.
pub fn pairs() -> Vec<(String, String)> {
    let many = |part: &str, count| vec![part; count].join(",");
    let objects = repeated("{\"a\":1,\"b\":2}");
    let path = vec!["a"; 32].join(".");
    let mut deep = "[".repeat(100);
    deep.push_str(&many("0", MIB / 2 - 200));
    deep.push_str(&"]".repeat(100));
    let long_in: Vec<_> = (0..1000).map(|n| format!("{n}.5")).collect();
    let long_start: Vec<_> = (0..1000).map(|n| format!("\"{n}\"")).collect();
    let needle = format!("{}b{}", "a".repeat(15), "a".repeat(15));
    let long_needle = format!("{}b{}", "a".repeat(8000), "a".repeat(7000));
    vec![
        (format!("[{}]", many("1", 200)), repeated("0")),
        (format!("{{\"$or\":[{}]}}", many("1", 200)), repeated("0")),
        (
            format!("{{\"$or\":[{}]}}", many("{\"$not\":{\"$exist\":true}}", 60)),
            repeated("0"),
        ),
        (
            format!(
                "{{\"$or\":[{}]}}",
                many("{\"$gt\":18446744073709551617}", 80)
            ),
            repeated("1234567890.12345678"),
        ),
        (
            format!("{{\"$or\":[{}]}}", many("{\"$gt\":1e99}", 80)),
            "1".repeat(MIB),
        ),
        (
            format!("{{\"$or\":[{}]}}", many("{\"$gt\":1e9}", 80)),
            format!("0.{}1", "0".repeat(MIB)),
        ),
        (
            format!("{{\"$in\":[{}]}}", long_in.join(",")),
            repeated("500.1"),
        ),
        (
            format!("{{\"$in\":[{}]}}", long_in.join(",")),
            repeated("7"),
        ),
        (
            format!("{{\"$startsWith\":[{}]}}", long_start.join(",")),
            repeated("\"x\""),
        ),
        (
            format!(
                "{{\"$or\":[{}]}}",
                many(&format!("{{\"$in\":\"{needle}\"}}"), 80)
            ),
            format!("\"{}\"", "a".repeat(MIB)),
        ),
        (
            format!("{{\"$in\":\"{long_needle}\"}}"),
            format!("\"{}\"", "a".repeat(MIB)),
        ),
        (
            format!("{{\"$in\":\"{long_needle}\"}}"),
            repeated(&format!("\"{}\"", "a".repeat(15_100))),
        ),
        (
            format!("{{\"{path}\":1}}").replacen("a.", "", 2),
            objects.clone(),
        ),
        (format!("{{\"{}\":1}}", "k".repeat(15_000)), objects.clone()),
        (format!("[{}]", many("{\"c\":1}", 100)), objects.clone()),
        (format!("[{}]", many("{\"$not\":{}}", 100)), objects.clone()),
        (
            format!("[{}]", many("{\"$eq\":{\"b\":2,\"a\":2}}", 60)),
            objects,
        ),
        (
            format!("{{\"$eq\":[{}]}}", many("0", 200)),
            repeated(&format!("[{},1]", many("0", 199))),
        ),
        (
            format!("{{\"$or\":[{}]}}", many("[[[[[[[[[1]]]]]]]]]", 20)),
            deep.clone(),
        ),
        (
            format!("{}1{}", "{\"$not\":".repeat(28), "}".repeat(28)),
            deep,
        ),
        ("{\"$gt\":0,\"$lt\":0}".to_owned(), repeated("1")),
        (
            format!(
                "{{\"$or\":[{}]}}",
                many(&format!("\"{}\"", "a".repeat(150)), 90)
            ),
            repeated(&format!("\"{}b\"", "a".repeat(149))),
        ),
    ]
}
