//! Texts that nobody would write.

use super::*;

/// The text with some of its bytes cut out, doubled, or replaced.
fn mutated(text: &str, changes: &[(usize, usize, String)]) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for (at, length, new) in changes {
        let from = at % (chars.len() + 1);
        let to = (from + length).min(chars.len());
        chars.splice(from..to, new.chars());
    }
    chars.into_iter().collect()
}

/// Faults, if any, have a place within the text, a problem and a fix.
fn check_told(text: &str) -> Result<(), TestCaseError> {
    let Err(faults) = parse(text, &bare()) else {
        return Ok(());
    };
    prop_assert!(!faults.list.is_empty());
    for fault in &faults.list {
        prop_assert!(fault.line.unwrap_or(1) <= text.split('\n').count());
        prop_assert!(fault.column.unwrap_or(1) >= 1);
        prop_assert!(!fault.problem.is_empty() && !fault.fix.is_empty());
    }
    prop_assert_eq!(faults.to_string().lines().count(), faults.list.len());
    Ok(())
}

proptest! {
    #[test]
    fn no_text_panics(text in any::<String>(), lines in "(\\[{0,2}[a-z_.]{0,8}\\]{0,2}( = [\"{\\[0-9a-z.]{0,6})?\n){0,12}") {
        check_told(&text)?;
        check_told(&lines)?;
    }

    #[test]
    fn no_mutation_of_the_example_panics(
        changes in prop::collection::vec((any::<usize>(), 0..12usize, "[-a-z0-9\"\\[\\]{}=,.#\n ü]{0,6}"), 1..8)
    ) {
        check_told(&mutated(&uncommented_example(), &changes))?;
        check_told(&mutated(FULL, &changes))?;
    }

    #[test]
    fn values_of_any_type_under_any_key_do_not_panic(
        n in any::<prop::sample::Index>(),
        value in prop::sample::select(vec![
            "1", "-1", "0.0", "inf", "true", "\"\"", "\"x\"", "\"5s\"", "[]", "[1]", "[[]]", "{}",
            "{ a = 1 }", "[{}]", "1979-05-27", "[\"x\", 1]", "\"\\u0000\"", "9223372036854775808",
        ]),
    ) {
        let keys: Vec<String> = known_keys().into_iter().collect();
        let key = n.get(&keys);
        let line = |key: &str| format!("{key} = {value}\n");
        check_told(&match key.strip_prefix("endpoint.") {
            Some(key) => endpoint(&line(key)),
            None => line(key),
        })?;
    }

    #[test]
    fn a_secret_is_never_told(cut in any::<prop::sample::Index>(), key in "[a-z_]{1,12}") {
        let whole = endpoint(&format!("secret = \"{SECRET}\"\nheaders.x = \"{SECRET}\""));
        let end = (0..=whole.len()).filter(|at| whole.is_char_boundary(*at)).collect::<Vec<_>>();
        let torn = &whole[..*cut.get(&end)];
        for text in [torn.to_owned(), format!("{key} = \"{SECRET}\""), format!("{key} = {SECRET}")] {
            if let Err(faults) = parse(&text, &bare()) {
                prop_assert!(!faults.to_string().contains("MfKQ"), "{}", faults);
            }
        }
    }
}
