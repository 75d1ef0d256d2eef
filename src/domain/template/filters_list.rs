//! The filters over lists and maps.

use std::cmp::Ordering;

use minijinja::{Error, Value};

use super::call::Call;
use super::compare::{equal, order};
use super::filter_names::is_filter;
use super::meter::{ITEM, Meter};
use super::operators::{add_values, lookup};
use super::predicates::is_test;
use super::print;
use super::value::{self, Piece, Shape, fault, field, items, list, undefined};

type Filter = fn(&mut Call<'_, '_, '_>) -> Result<Value, Error>;

/// The filters by name.
pub(super) const FILTERS: &[(&str, Filter)] = &[
    ("length", length),
    ("count", length),
    ("join", join),
    ("split", split),
    ("lines", lines),
    ("list", make_list),
    ("items", |call| pairs(call, false)),
    ("dictsort", |call| pairs(call, true)),
    ("first", first),
    ("last", last),
    ("min", |call| extreme(call, Ordering::Less)),
    ("max", |call| extreme(call, Ordering::Greater)),
    ("sum", sum),
    ("sort", sort),
    ("unique", unique),
    ("reverse", reverse),
    ("map", map),
    ("select", |call| choose(call, false, true)),
    ("reject", |call| choose(call, false, false)),
    ("selectattr", |call| choose(call, true, true)),
    ("rejectattr", |call| choose(call, true, false)),
    ("groupby", group_by),
    ("batch", batch),
    ("slice", slice),
    ("attr", |call| {
        let (value, key) = (call.first()?, call.second()?);
        lookup(&value, &key, &mut call.meter())
    }),
];

/// The part of an item at a path such as `customer.name`.
fn at_path(item: &Value, path: &str, meter: &mut Meter) -> Result<Value, Error> {
    let mut found = item.clone();
    for part in path.split('.') {
        meter.charge(ITEM)?;
        meter.charge_copy(part.len())?;
        let key = part
            .parse::<i64>()
            .map_or_else(|_| Value::from(part), Value::from);
        found = lookup(&found, &key, meter)?;
    }
    Ok(found)
}

fn length(call: &mut Call) -> Result<Value, Error> {
    let value = call.first()?;
    Ok(Value::from(match Piece::Value(&value).shape() {
        Shape::Undefined => return Err(undefined()),
        Shape::Text(text) => text.chars().count(),
        Shape::List(items) => items.len(),
        Shape::Map(fields) => fields.len(),
        other => return Err(fault(format!("{} has no length", other.kind()))),
    }))
}

/// The items, or the characters of a text.
fn parts(value: &Value, meter: &mut Meter) -> Result<Vec<Value>, Error> {
    let Some(text) = value.as_str() else {
        return items(value, meter);
    };
    let mut found = Vec::new();
    for c in text.chars() {
        meter.charge(ITEM)?;
        found.push(Value::from(c));
    }
    Ok(found)
}

fn join(call: &mut Call) -> Result<Value, Error> {
    let value = call.first()?;
    let between = call.text_option(1, "d")?;
    let path = call.text_option(2, "attribute")?;
    let between = between.as_ref().and_then(Value::as_str).unwrap_or_default();
    let mut meter = call.meter();
    let mut out = String::new();
    for (n, item) in items(&value, &mut meter)?.into_iter().enumerate() {
        let item = match path.as_ref().and_then(Value::as_str) {
            Some(path) => at_path(&item, path, &mut meter)?,
            None => item,
        };
        let text = print::text(&item, &mut meter)?;
        meter.charge((text.len() + between.len()) as u64)?;
        if n > 0 {
            out.push_str(between);
        }
        out.push_str(&text);
    }
    Ok(Value::from(out))
}

fn collect<'t>(parts: impl Iterator<Item = &'t str>, meter: &mut Meter) -> Result<Value, Error> {
    let mut found = Vec::new();
    for part in parts {
        meter.charge(ITEM + part.len() as u64)?;
        found.push(Value::from(part));
    }
    list(found)
}

fn split(call: &mut Call) -> Result<Value, Error> {
    let text = call.text()?;
    let between = call.text_option(1, "sep")?;
    let most = call.count(2, "maxsplit", usize::MAX - 1)?;
    let mut meter = call.meter();
    match (between.as_ref().and_then(Value::as_str), most) {
        (Some(""), _) => Err(fault("`split` needs a text that is not empty")),
        (None, None) => collect(text.split_whitespace(), &mut meter),
        (Some(between), None) => collect(text.split(between), &mut meter),
        (Some(between), Some(most)) => collect(text.splitn(most + 1, between), &mut meter),
        (None, Some(_)) => Err(fault("`split` with a number needs a separator too")),
    }
}

fn lines(call: &mut Call) -> Result<Value, Error> {
    let text = call.text()?;
    collect(text.lines(), &mut call.meter())
}

fn make_list(call: &mut Call) -> Result<Value, Error> {
    let value = call.first()?;
    list(parts(&value, &mut call.meter())?)
}

fn pairs(call: &mut Call, sorted: bool) -> Result<Value, Error> {
    let value = call.first()?;
    let by_value = match call.text_option(1, "by")? {
        Some(by) if sorted && by.as_str() == Some("value") => true,
        Some(by) if !sorted || by.as_str() != Some("key") => {
            return Err(fault("`by` of `dictsort` is \"key\" or \"value\""));
        }
        _ => false,
    };
    let backwards = sorted && call.flag(2, "reverse");
    let mut meter = call.meter();
    let Shape::Map(fields) = Piece::Value(&value).shape() else {
        if value.is_undefined() {
            return Err(undefined());
        }
        return Err(fault("a map is needed here"));
    };
    let mut found = Vec::new();
    for (name, _) in fields.iter() {
        meter.charge(3 * ITEM)?;
        meter.charge_copy(name.len())?;
        let part = field(&value, name, &mut meter)?.unwrap_or_default();
        found.push((Value::from(name), part));
    }
    if sorted {
        try_sort(&mut found, backwards, &mut meter, |(name, part)| {
            if by_value { part } else { name }
        })?;
    }
    let pairs: Result<Vec<Value>, Error> = found
        .into_iter()
        .map(|(name, part)| list(vec![name, part]))
        .collect();
    list(pairs?)
}

/// Sorts, and stops comparing at the first fault.
fn try_sort<T>(
    found: &mut [T],
    backwards: bool,
    meter: &mut Meter,
    key: impl Fn(&T) -> &Value,
) -> Result<(), Error> {
    let mut failed = None;
    found.sort_by(|a, b| {
        if failed.is_some() {
            return Ordering::Equal;
        }
        match order(Piece::Value(key(a)), Piece::Value(key(b)), meter) {
            Ok(found) if backwards => found.reverse(),
            Ok(found) => found,
            Err(error) => {
                failed = Some(error);
                Ordering::Equal
            }
        }
    });
    failed.map_or(Ok(()), Err)
}

fn first(call: &mut Call) -> Result<Value, Error> {
    end(call, |_| 0, |text| text.chars().next())
}

fn last(call: &mut Call) -> Result<Value, Error> {
    end(
        call,
        |len| len.wrapping_sub(1),
        |text| text.chars().next_back(),
    )
}

fn end(
    call: &mut Call,
    place: fn(usize) -> usize,
    of_text: fn(&str) -> Option<char>,
) -> Result<Value, Error> {
    let value = call.first()?;
    let mut meter = call.meter();
    match Piece::Value(&value).shape() {
        Shape::Undefined => Err(undefined()),
        Shape::Text(text) => Ok(of_text(text).map(Value::from).unwrap_or_default()),
        Shape::List(items) => {
            Ok(value::item(&value, place(items.len()), &mut meter)?.unwrap_or_default())
        }
        other => Err(fault(format!(
            "a list is needed here, not {}",
            other.kind()
        ))),
    }
}

/// Each item with what it is judged by.
fn keyed(
    value: &Value,
    path: Option<&Value>,
    meter: &mut Meter,
) -> Result<Vec<(Value, Value)>, Error> {
    let mut found = Vec::new();
    for item in items(value, meter)? {
        meter.charge(ITEM)?;
        let key = match path.and_then(Value::as_str) {
            Some(path) => at_path(&item, path, meter)?,
            None => item.clone(),
        };
        found.push((key, item));
    }
    Ok(found)
}

fn extreme(call: &mut Call, wanted: Ordering) -> Result<Value, Error> {
    let value = call.first()?;
    let path = call.text_option(1, "attribute")?;
    let mut meter = call.meter();
    let mut best: Option<(Value, Value)> = None;
    for (key, item) in keyed(&value, path.as_ref(), &mut meter)? {
        let better = match &best {
            None => true,
            Some((best, _)) => order(Piece::Value(&key), Piece::Value(best), &mut meter)? == wanted,
        };
        if better {
            best = Some((key, item));
        }
    }
    Ok(best.map(|(_, item)| item).unwrap_or_default())
}

fn sum(call: &mut Call) -> Result<Value, Error> {
    let value = call.first()?;
    let path = call.text_option(1, "attribute")?;
    let start = call.option(2, "start").unwrap_or_else(|| Value::from(0));
    let mut meter = call.meter();
    let mut total = start;
    for (key, _) in keyed(&value, path.as_ref(), &mut meter)? {
        total = add_values(&total, &key, &mut meter)?;
    }
    Ok(total)
}

fn sort(call: &mut Call) -> Result<Value, Error> {
    let value = call.first()?;
    let backwards = call.flag(1, "reverse");
    let path = call.text_option(2, "attribute")?;
    let mut meter = call.meter();
    let mut found = keyed(&value, path.as_ref(), &mut meter)?;
    try_sort(&mut found, backwards, &mut meter, |(key, _)| key)?;
    list(found.into_iter().map(|(_, item)| item).collect())
}

/// The first of those that are equal, in their order.
fn unique(call: &mut Call) -> Result<Value, Error> {
    let value = call.first()?;
    let path = call.text_option(1, "attribute")?;
    let mut meter = call.meter();
    let mut found: Vec<(Value, Value)> = Vec::new();
    for (key, item) in keyed(&value, path.as_ref(), &mut meter)? {
        let mut is_new = true;
        for (seen, _) in &found {
            if equal(Piece::Value(seen), Piece::Value(&key), &mut meter)? {
                is_new = false;
                break;
            }
        }
        if is_new {
            found.push((key, item));
        }
    }
    list(found.into_iter().map(|(_, item)| item).collect())
}

fn reverse(call: &mut Call) -> Result<Value, Error> {
    let value = call.first()?;
    let mut meter = call.meter();
    if let Some(text) = value.as_str() {
        meter.charge(text.len() as u64)?;
        return Ok(Value::from(text.chars().rev().collect::<String>()));
    }
    let mut found = items(&value, &mut meter)?;
    found.reverse();
    list(found)
}

/// A part of each item (`attribute="a.b"`), or each item through a filter.
fn map(call: &mut Call) -> Result<Value, Error> {
    let value = call.first()?;
    let path = call.named("attribute");
    let other = call.named("default");
    let mut found = items(&value, &mut call.meter())?;
    if let Some(path) = path {
        let Some(path) = path.as_str() else {
            return Err(fault("the argument `attribute` is text"));
        };
        let mut meter = call.meter();
        for item in &mut found {
            let part = at_path(item, path, &mut meter)?;
            *item = match &other {
                Some(other) if part.is_undefined() => other.clone(),
                _ if part.is_undefined() => return Err(undefined()),
                _ => part,
            };
        }
        return list(found);
    }
    let arguments = call.take_all();
    let Some(name) = arguments.get(1).and_then(Value::as_str) else {
        return Err(fault(
            "`map` needs the name of a filter, or `attribute=\"…\"`",
        ));
    };
    // `map` in `map` would nest as deeply as there are arguments.
    if !is_filter(name) || name == "map" {
        return Err(fault(
            "`map` names a filter that does not exist or cannot be used in it",
        ));
    }
    for item in &mut found {
        let mut given = vec![item.clone()];
        given.extend(arguments.iter().skip(2).cloned());
        call.meter()
            .charge(2 * ITEM + item.as_str().map_or(0, str::len) as u64)?;
        *item = call.state.apply_filter(name, &given)?;
        call.meter()
            .charge(item.as_str().map_or(0, str::len) as u64)?;
    }
    defined_list(found)
}

fn defined_list(found: Vec<Value>) -> Result<Value, Error> {
    if found.iter().any(Value::is_undefined) {
        return Err(undefined());
    }
    list(found)
}

/// The items that pass a test, or that do not.
fn choose(call: &mut Call, by_path: bool, wanted: bool) -> Result<Value, Error> {
    let value = call.first()?;
    let arguments = call.take_all();
    let mut arguments = arguments.iter().skip(1);
    let path = if by_path {
        let path = arguments.next().filter(|path| path.as_str().is_some());
        Some(path.ok_or_else(|| fault("the name of an attribute is missing"))?)
    } else {
        None
    };
    let test = arguments.next();
    let found = keyed(&value, path, &mut call.meter())?;
    let mut kept = Vec::new();
    for (key, item) in found {
        let passes = match test.map(|test| test.as_str()) {
            None => key.is_true(),
            Some(Some(name)) if is_test(name) => {
                let mut given = vec![key];
                given.extend(arguments.clone().cloned());
                call.meter().charge(2 * ITEM)?;
                call.state.perform_test(name, &given)?
            }
            Some(_) => return Err(fault("the name of the test is none that exists")),
        };
        if passes == wanted {
            kept.push(item);
        }
    }
    list(kept)
}

/// Pairs of a key and the items that have it, sorted by the key.
fn group_by(call: &mut Call) -> Result<Value, Error> {
    let value = call.first()?;
    let Some(path) = call.text_option(1, "attribute")? else {
        return Err(fault("`groupby` needs the name of an attribute"));
    };
    let mut meter = call.meter();
    let mut found = keyed(&value, Some(&path), &mut meter)?;
    try_sort(&mut found, false, &mut meter, |(key, _)| key)?;
    let mut groups: Vec<(Value, Vec<Value>)> = Vec::new();
    for (key, item) in found {
        meter.charge(ITEM)?;
        match groups.last_mut() {
            Some((last, group)) if equal(Piece::Value(last), Piece::Value(&key), &mut meter)? => {
                group.push(item);
            }
            _ => groups.push((key, vec![item])),
        }
    }
    let groups: Result<Vec<Value>, Error> = groups
        .into_iter()
        .map(|(key, group)| list(vec![key, list(group)?]))
        .collect();
    list(groups?)
}

/// Lists of `n` items.
fn batch(call: &mut Call) -> Result<Value, Error> {
    let value = call.first()?;
    let Some(size) = call.count(1, "linecount", 1_000)?.filter(|size| *size > 0) else {
        return Err(fault("`batch` needs a number of items, from 1 to 1000"));
    };
    let filler = call.option(2, "fill_with");
    let mut meter = call.meter();
    let found = items(&value, &mut meter)?;
    let mut batches = Vec::new();
    for chunk in found.chunks(size) {
        meter.charge(ITEM * (1 + chunk.len() as u64))?;
        let mut chunk = chunk.to_vec();
        if let Some(filler) = &filler {
            meter.charge(ITEM * (size - chunk.len()) as u64)?;
            chunk.resize(size, filler.clone());
        }
        batches.push(list(chunk)?);
    }
    list(batches)
}

/// `n` lists of nearly the same length.
fn slice(call: &mut Call) -> Result<Value, Error> {
    let value = call.first()?;
    let Some(count) = call.count(1, "slices", 1_000)?.filter(|count| *count > 0) else {
        return Err(fault("`slice` needs a number of lists, from 1 to 1000"));
    };
    let mut meter = call.meter();
    let mut found = items(&value, &mut meter)?.into_iter();
    let (each, longer) = (found.len() / count, found.len() % count);
    let mut slices = Vec::new();
    for n in 0..count {
        let len = each + usize::from(n < longer);
        meter.charge(ITEM * (1 + len as u64))?;
        slices.push(list(found.by_ref().take(len).collect())?);
    }
    list(slices)
}
