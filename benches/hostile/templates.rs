//! Templates that try to use up memory, time or the stack, and events for them: most have almost a
//! mebibyte. A test holds each pair to its bounds, and a bench measures each.

use std::sync::{Arc, OnceLock};

use outboxd::domain::json::Json;

/// The data of events; the last one is small.
pub fn documents() -> &'static [Arc<Json>] {
    static DOCUMENTS: OnceLock<Vec<Arc<Json>>> = OnceLock::new();
    DOCUMENTS.get_or_init(|| {
        let deep = format!("{}1{}", "[".repeat(120), "]".repeat(120));
        let wide = format!("[{}1]", "1,".repeat(524_000));
        let objects = format!("[{}{{}}]", "{\"a\":1.50,\"b\":[\"x\"]},".repeat(50_000));
        let words = format!("\"{}\"", "ab ".repeat(349_000));
        let names: Vec<String> = (0..60_000).map(|n| format!("\"name{n}\":{n}.5")).collect();
        let twice = format!("{{\"a\":{objects},\"b\":{objects}}}");
        let digits = format!(
            "{{\"a\":{},\"b\":0.{},\"l\":[{}]}}",
            "9".repeat(350_000),
            "37".repeat(175_000),
            "8".repeat(300_000)
        );
        let small = r#"{"text":"hello","n":1,"l":[1,2,3],"o":{"a":1}}"#;
        [
            deep.as_str(),
            &wide,
            &objects,
            &words,
            &format!("{{{}}}", names.join(",")),
            &twice,
            &digits,
            small,
        ]
        .iter()
        .map(|text| Arc::new(Json::parse(text.as_bytes()).expect("it is JSON")))
        .collect()
    })
}

fn looped(body: &str) -> String {
    format!(
        "{{% for i in range(1000) %}}{{% for j in range(1000) %}}{body}{{% endfor %}}{{% endfor %}}"
    )
}

/// Sources with their names. `d` and `data` are the event's data.
pub fn sources() -> Vec<(&'static str, String)> {
    let sets = |n: usize, body: &str| body.repeat(n);
    let n = 15_000;
    vec![
        ("plus", format!("{{{{ {} }}}}", vec!["1"; n].join("+"))),
        (
            "plus of names",
            format!("{{{{ {} }}}}", vec!["d"; n].join("+")),
        ),
        ("attributes", format!("{{{{ d{} }}}}", ".a".repeat(n))),
        ("filters", format!("{{{{ d{} }}}}", "|e".repeat(n))),
        ("not", format!("{{{{ {} 1 }}}}", "not ".repeat(8_000))),
        ("minus", format!("{{{{ {} 1 }}}}", "-".repeat(30_000))),
        (
            "and",
            format!("{{{{ {} }}}}", vec!["d"; 5_400].join(" and ")),
        ),
        (
            "elif",
            format!("{{% if 0 %}}{}{{% endif %}}", "{%elif 0%}".repeat(3_000)),
        ),
        (
            "ternaries",
            format!("{{{{ {} d }}}}", "d if d else ".repeat(2_500)),
        ),
        (
            "ternaries without else",
            format!("{{{{ d {} }}}}", "if d ".repeat(5_000)),
        ),
        (
            "powers",
            format!("{{{{ {} }}}}", vec!["1"; 10_000].join("**")),
        ),
        ("brackets", "{{".to_owned() + &"[".repeat(30_000)),
        ("parentheses", "{{".to_owned() + &"(".repeat(30_000)),
        ("braces", "{{".to_owned() + &"{1:".repeat(10_000)),
        (
            "brackets closed",
            format!("{{{{ {}1{} }}}}", "[".repeat(140), "]".repeat(140)),
        ),
        (
            "later operators",
            format!(
                "{{{{ {}1{} }}}}",
                "(".repeat(15),
                format!("{})", ".a".repeat(60)).repeat(15)
            ),
        ),
        ("ifs", "{% if 1 %}".repeat(3_000)),
        ("fors", "{% for a in d %}".repeat(2_000)),
        ("set blocks", "{% set a %}".repeat(2_500)),
        ("filter blocks", "{% filter e %}".repeat(2_000)),
        ("withs", "{% with a = 1 %}".repeat(2_000)),
        ("calls", format!("{{{{ d{} }}}}", "()".repeat(n))),
        ("items", format!("{{{{ d{} }}}}", "[0]".repeat(10_000))),
        ("slices", format!("{{{{ d{} }}}}", "[0:]".repeat(7_500))),
        (
            "comparisons",
            format!("{{{{ {} }}}}", vec!["1"; n].join("<")),
        ),
        ("tests", format!("{{{{ d {} }}}}", "is odd ".repeat(4_000))),
        (
            "test arguments",
            format!("{{{{ d {} 1 }}}}", "is eq -".repeat(4_000)),
        ),
        (
            "filter chain of a set",
            format!("{{% set x {} %}}{{% endset %}}", "|e".repeat(n)),
        ),
        (
            "targets",
            format!(
                "{{% set {}a{} = d %}}",
                "(".repeat(10_000),
                ")".repeat(10_000)
            ),
        ),
        (
            "target parts",
            format!("{{% set a{} = d %}}", ".b".repeat(10_000)),
        ),
        (
            "names of filters",
            format!("{{{{ d|a{} }}}}", ".b".repeat(10_000)),
        ),
        (
            "map of maps",
            format!("{{{{ d|map({}'upper') }}}}", "'map',".repeat(4_500)),
        ),
        (
            "nested lists",
            format!("{{% set x=1 %}}{}", sets(2_000, "{%set x=[x]%}")),
        ),
        (
            "nested maps",
            format!("{{% set x=1 %}}{}", sets(1_750, "{%set x={1:x}%}")),
        ),
        ("nested in a loop", looped("{% set x = [x|d(1)] %}")),
        (
            "shared equal",
            format!(
                "{{% set x=1 %}}{{% set y=1%}}{}{{{{ x == y }}}}",
                sets(22, "{%set x=[x,x]%}{%set y=[y,y]%}")
            ),
        ),
        (
            "shared less",
            format!(
                "{{% set x=1 %}}{{% set y=1%}}{}{{{{ x < y }}}}",
                sets(22, "{%set x=[x,x]%}{%set y=[y,y]%}")
            ),
        ),
        (
            "shared printed",
            format!("{{% set x=1 %}}{}{{{{ x }}}}", sets(30, "{%set x=[x,x]%}")),
        ),
        (
            "shared joined to text",
            format!(
                "{{% set x=1 %}}{}{{% set z = x ~ '' %}}",
                sets(30, "{%set x=[x,x]%}")
            ),
        ),
        (
            "shared in a fault",
            format!(
                "{{% set x=1 %}}{}{{{{ x - 1 }}}}",
                sets(30, "{%set x=[x,x]%}")
            ),
        ),
        (
            "shared upper",
            format!(
                "{{% set x=1 %}}{}{{{{ x|upper }}}}",
                sets(30, "{%set x=[x,x]%}")
            ),
        ),
        (
            "shared maps",
            format!(
                "{{% set x=1 %}}{}{{{{ x|tojson(indent=8) }}}}",
                sets(30, "{%set x={1:x,2:x}%}")
            ),
        ),
        (
            "shared sorted",
            format!(
                "{{% set x=1 %}}{}{{{{ [x,x,x]|sort|unique }}}}",
                sets(30, "{%set x=[x,x]%}")
            ),
        ),
        (
            "shared in",
            format!(
                "{{% set x=1 %}}{{% set y=1%}}{}{{{{ x in [y] }}}}",
                sets(30, "{%set x=[x,x]%}{%set y=[y,y]%}")
            ),
        ),
        (
            "doubled list",
            format!(
                "{{% set x=[1] %}}{}{{{{ x|length }}}}",
                sets(26, "{%set x=x+x%}")
            ),
        ),
        (
            "doubled text",
            format!(
                "{{% set x='x' %}}{}{{{{ x|length }}}}",
                sets(40, "{%set x=x+x%}")
            ),
        ),
        (
            "doubled by tilde",
            format!(
                "{{% set x='x' %}}{}{{{{ x|length }}}}",
                sets(40, "{%set x=x~x%}")
            ),
        ),
        (
            "doubled by times",
            format!(
                "{{% set x='x' %}}{}{{{{ x|length }}}}",
                sets(40, "{%set x=x*2%}")
            ),
        ),
        (
            "sliced often",
            format!(
                "{{% set x=[1] %}}{}{{{{ x|length }}}}",
                sets(2_000, "{%set x=x[0:]%}")
            ),
        ),
        (
            "reversed often",
            format!(
                "{{% set x=[1] %}}{}{{{{ x|length }}}}",
                sets(1_700, "{%set x=x|reverse%}")
            ),
        ),
        (
            "repeated constant",
            "{{ ([1] * 100000000)[99999999:]|first }}".to_owned(),
        ),
        (
            "repeated and compared",
            "{{ [1] * 100000000 == [1] * 100000000 }}".to_owned(),
        ),
        ("repeated text", "{{ 'x' * 99999999999999 }}".to_owned()),
        (
            "repeated text of the event",
            looped("{{ (d|string * 1000)|length }}"),
        ),
        ("power", looped("{% set x = 99999999 ** 99999999 %}")),
        ("range", "{{ range(99999999999999) }}".to_owned()),
        (
            "range of one step",
            "{{ range(0, 170141183460469231731687303715884105727, 1) }}".to_owned(),
        ),
        ("ranges", looped("{{ range(1000)|length }}")),
        (
            "indent",
            looped("{{ '\n\n\n\n\n\n\n\n\n\n'|indent(100, true, true) }}"),
        ),
        (
            "indent too wide",
            "{{ 'x'|indent(99999999999) }}".to_owned(),
        ),
        (
            "format",
            looped("{{ '%100s%100s%100s%.30f'|format(1,2,3,1e300) }}"),
        ),
        (
            "format too wide",
            "{{ '%99999999999s'|format(1) }}".to_owned(),
        ),
        (
            "join",
            looped("{{ range(1000)|join('xxxxxxxxxxxxxxxxxxxxxxxxxxx') }}"),
        ),
        ("join the event", looped("{{ d|join(d|string) }}")),
        (
            "replace",
            "{{ ('a' * 10000)|replace('a', 'b' * 10000) }}".to_owned(),
        ),
        (
            "replace in the event",
            looped("{% set x = d|string|replace('a', 'bbbbbbbbbbbbbbbbbbbbbbbbbbbb') %}"),
        ),
        (
            "replace nothing",
            "{{ d|string|replace('', 'xxxxxxxxxxx') }}".to_owned(),
        ),
        ("batch", "{{ d|list|batch(1000, 'x') }}".to_owned()),
        (
            "batch too large",
            "{{ [1]|batch(99999999999, 'x') }}".to_owned(),
        ),
        ("slice too large", "{{ [1]|slice(99999999999) }}".to_owned()),
        ("batches", looped("{{ [1]|batch(1000, 'x') }}")),
        (
            "split",
            "{{ d|string|split('a') }}{{ d|string|split }}{{ d|string|list }}".to_owned(),
        ),
        ("splits", looped("{% set x = d|string|split(' ') %}")),
        ("sort", looped("{{ d|sort }}")),
        (
            "unique",
            looped("{{ d|unique|length }}{{ d|map('string')|unique|length }}"),
        ),
        ("dictsort", looped("{{ d|dictsort }}")),
        ("group", looped("{{ d|groupby('a') }}")),
        ("select", looped("{{ d|select('in', d)|list|length }}")),
        ("reject", looped("{{ d|reject('eq', d) }}")),
        ("map to text", looped("{{ d|map('tojson')|join }}")),
        ("compare halves", looped("{{ d.a == d.b }}")),
        (
            "compare with itself",
            looped("{% if d == data %}{% endif %}"),
        ),
        (
            "order the event",
            looped("{% if [d] < [data] %}{% endif %}"),
        ),
        ("search the event", looped("{% if 'zzz' in d %}{% endif %}")),
        ("print the event", looped("{{ d }}")),
        ("keep the event", looped("{% set x = d|tojson %}")),
        (
            "keep parts",
            (0..1_300)
                .map(|n| format!("{{%set x{n}=d|tojson%}}"))
                .collect::<String>(),
        ),
        (
            "copy texts",
            looped("{% set x = [d][0] %}{% set y = d|string %}"),
        ),
        (
            "keep lists",
            (0..1_300)
                .map(|n| format!("{{%set x{n}=d|list%}}"))
                .collect::<String>(),
        ),
        (
            "characters",
            looped("{{ (d|string)[-1] }}{{ (d|string)[::-1]|length }}"),
        ),
        (
            "loop over the event",
            "{% for a in d %}{% for b in d %}{% for c in d %}{% endfor %}{% endfor %}{% endfor %}"
                .to_owned(),
        ),
        ("begin loops", looped("{% for a in d %}{% endfor %}")),
        (
            "begin filtered loops",
            looped("{% for a in d if false %}{% endfor %}"),
        ),
        ("unpack", looped("{% for a, b in d %}{% endfor %}")),
        ("unpack once", "{% set a, b = d %}".to_owned()),
        (
            "upper",
            looped("{% set x = d|string|upper|title|capitalize|lower %}"),
        ),
        ("escape", looped("{{ d|string|e|e|e }}")),
        ("urlencode", looped("{{ d|urlencode|urlencode|urlencode }}")),
        ("truncate", looped("{{ d|string|truncate(1000000) }}")),
        ("length", looped("{{ d|length }}{{ (d|string)|length }}")),
        (
            "captured",
            format!(
                "{}{{{{ d }}}}{}",
                "{% set x %}".repeat(40),
                "{% endset %}".repeat(40)
            ),
        ),
        (
            "captured again",
            looped("{% set x %}{{ d }}{% endset %}{% set x %}{{ x }}{{ x }}{% endset %}"),
        ),
        ("much raw text", looped(&"x".repeat(30_000))),
        (
            "many constants",
            format!("{{{{ [{}] }}}}", vec!["[1]"; 7_500].join(",")),
        ),
        (
            "a wide map",
            format!("{{{{ {{{}}} }}}}", vec!["1:2"; 7_500].join(",")),
        ),
        (
            "many arguments",
            format!("{{{{ d|map({}) }}}}", vec!["1"; 7_500].join(",")),
        ),
        (
            "many names",
            format!("{{% set {} = d %}}", vec!["a"; 7_500].join(",")),
        ),
        ("many statements", "{{d}}".repeat(6_500)),
        ("many lines", "\n".repeat(32_768)),
        ("many lines and a fault", "\n".repeat(32_000) + "{{ nope }}"),
        ("too long", "x".repeat(32_769)),
        (
            "macro",
            "{% macro f(x) %}{{ f([x]) }}{% endmacro %}{{ f(1) }}".to_owned(),
        ),
        (
            "loop in loop",
            "{% for a in [1] recursive %}{{ loop([a]) }}{% endfor %}".to_owned(),
        ),
        (
            "loop kept",
            "{% for a in [1] %}{% set x = [loop] %}{{ x }}{% endfor %}".to_owned(),
        ),
        (
            "loop printed",
            "{% for a in [1] %}{{ loop }}{{ loop|tojson }}{{ loop == loop }}{% endfor %}"
                .to_owned(),
        ),
        (
            "internal names",
            "{{ d|map('[]', 1) }}{{ d|map('print!') }}".to_owned(),
        ),
        (
            "round",
            looped("{{ 1e300|round(30) }}{{ 5e-324|round(30) }}"),
        ),
        ("digits that are true", looped("{% if d.b %}{% endif %}")),
        (
            "digits compared",
            looped("{% if d.b == 1.5 or d.b < d.a %}{% endif %}"),
        ),
        (
            "digits tested",
            looped("{% if d.a is integer or d.b is odd %}{% endif %}"),
        ),
        ("digits calculated", looped("{{ d.b + 1 }}{{ d.b|float }}")),
        (
            "digits read from text",
            looped("{% set x = d.b|string %}{{ x|float }}{{ x|int(1) }}"),
        ),
        (
            "a long path",
            "{% set x = 'ab c' * 100000 %}{% set y = range(1000) %}{{ y|sum(x) }}{{ y|sort(attribute=x) }}".to_owned(),
        ),
        (
            "a long name",
            format!("{{% set x = 'ab c' * 100000 %}}{}", looped("{{ x in d }}{{ {1:2,3:4} == {1:2,x:4} }}")),
        ),
        (
            "digits printed",
            format!(
                "{{% set x=[d.l] %}}{}{{{{ x|tojson }}}}",
                sets(9, "{%set x=x+x%}")
            ),
        ),
        (
            "trim",
            format!(
                "{{% set x=' ' * 100000 %}}{}",
                looped(&format!(
                    "{{{{ x|trim('{}') }}}}",
                    "abcdefg".repeat(9) + " "
                ))
            ),
        ),
        (
            "deep",
            "{{ d }}{{ [[[d]]] }}{{ d|tojson(indent=8) }}{{ d == data }}{{ d < data }}".to_owned(),
        ),
    ]
}
