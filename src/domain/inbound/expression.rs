//! Ids and types, composed of texts of a call and of its elements.

use std::borrow::Cow;
use std::cell::OnceCell;

use super::call::View;
use super::place::{Item, Place, escaped};

/// Alternatives, each of texts that are joined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Expression(pub Vec<Vec<Place>>);

/// An expression over one call. A place that is not of an element is read at most once, however many
/// elements the call has.
pub(super) struct Reading<'v, 'a> {
    view: &'v View<'a>,
    alternatives: Vec<Vec<Once<'v>>>,
}

struct Once<'e> {
    place: &'e Place,
    text: OnceCell<Option<String>>,
}

impl Expression {
    pub(super) fn over<'v, 'a>(&'v self, view: &'v View<'a>) -> Reading<'v, 'a> {
        let once = |place| Once {
            place,
            text: OnceCell::new(),
        };
        let alternatives = self.0.iter();
        let alternatives = alternatives.map(|places| places.iter().map(once).collect());
        Reading {
            view,
            alternatives: alternatives.collect(),
        }
    }
}

impl Reading<'_, '_> {
    /// Of the first alternative whose first text is there, constant ones aside: the texts that are
    /// there, with dots between them.
    pub(super) fn dotted(&self, item: Item<'_>) -> Option<String> {
        self.alternatives.iter().find_map(|places| {
            let mut texts = Vec::with_capacity(places.len());
            let mut decided = false;
            for once in places {
                let text = self.text(once, item);
                if !once.place.is_constant() && !decided {
                    decided = true;
                    text.as_ref()?;
                }
                texts.extend(text);
            }
            Some(texts.join("."))
        })
    }

    /// Of the first alternative whose texts are all there, so that different ones stay different.
    pub(super) fn unique(&self, item: Item<'_>) -> Option<String> {
        self.alternatives.iter().find_map(|places| {
            let [once] = places.as_slice() else {
                let texts = places.iter().map(|once| self.text(once, item));
                let texts: Option<Vec<Cow<'_, str>>> = texts.collect();
                let escaped: Vec<String> = texts?.iter().map(|text| escaped(text)).collect();
                return Some(escaped.join(" "));
            };
            self.text(once, item).map(Cow::into_owned)
        })
    }

    fn text<'s>(&'s self, once: &'s Once<'_>, item: Item<'_>) -> Option<Cow<'s, str>> {
        if once.place.is_of_item() {
            return once.place.read_item(item?).map(Cow::Owned);
        }
        let text = once.text.get_or_init(|| once.place.read(self.view));
        text.as_deref().map(Cow::Borrowed)
    }
}
