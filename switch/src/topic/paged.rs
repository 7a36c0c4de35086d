//! A slab in pages: values with small stable indices, of which none ever moves.
//!
//! A slab in one vector doubles by copying, which at half a million retained messages stopped the shard for 20 ms, and
//! keeps up to half of its memory in reserve. Here a full page stays where it is and the next one is begun.

use std::ops::{Index, IndexMut};

/// Values in a page: tens of kilobytes for what is kept here.
const PAGE: usize = 1024;

/// Values by index. An index is used again after its value was removed, the last one removed first.
#[derive(Debug)]
pub(crate) struct Paged<T> {
    /// All are full but the last.
    pages: Vec<Vec<Place<T>>>,
    len: usize,
    /// The first place of the list of vacant ones.
    vacant: Option<u32>,
}

#[derive(Debug)]
enum Place<T> {
    Filled(T),
    /// With the next vacant place.
    Vacant(Option<u32>),
}

impl<T> Paged<T> {
    /// How many values there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Every index is below this.
    pub(crate) fn end(&self) -> u32 {
        let last = self.pages.last().map_or(0, Vec::len);
        index_of(self.pages.len().saturating_sub(1) * PAGE + last)
    }

    /// The index that the next value gets.
    pub(crate) fn next_index(&self) -> u32 {
        self.vacant.unwrap_or_else(|| self.end())
    }

    /// Keeps a value and returns its index.
    pub(crate) fn insert(&mut self, value: T) -> u32 {
        let index = self.next_index();
        match self.vacant {
            Some(_) => {
                let place = self.place_mut(index).expect("a vacant place is a place");
                let Place::Vacant(next) = std::mem::replace(place, Place::Filled(value)) else {
                    unreachable!("a vacant place holds no value")
                };
                self.vacant = next;
            }
            None => self.last_page().push(Place::Filled(value)),
        }
        self.len += 1;
        index
    }

    /// Removes a value. Panics if there is none.
    pub(crate) fn remove(&mut self, index: u32) -> T {
        let vacant = self.vacant;
        let place = self.place_mut(index).filter(|place| matches!(place, Place::Filled(_)));
        let Some(Place::Filled(value)) = place.map(|place| std::mem::replace(place, Place::Vacant(vacant))) else {
            panic!("no value has index {index}")
        };
        self.vacant = Some(index);
        self.len -= 1;
        value
    }

    /// The value with this index, if there is one.
    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        match self.pages.get(index as usize / PAGE)?.get(index as usize % PAGE)? {
            Place::Filled(value) => Some(value),
            Place::Vacant(_) => None,
        }
    }

    /// All values, by index.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0..self.end()).filter_map(|index| Some((index, self.get(index)?)))
    }

    /// The page that has room behind its last value.
    fn last_page(&mut self) -> &mut Vec<Place<T>> {
        if self.pages.last().is_none_or(|page| page.len() == PAGE) {
            // The first page grows from nothing: many slabs stay small.
            self.pages.push(Vec::with_capacity(if self.pages.is_empty() { 0 } else { PAGE }));
        }
        self.pages.last_mut().expect("one was added")
    }

    fn place_mut(&mut self, index: u32) -> Option<&mut Place<T>> {
        self.pages.get_mut(index as usize / PAGE)?.get_mut(index as usize % PAGE)
    }
}

/// Bytes of a value's place.
#[cfg(test)]
pub(crate) const fn place_bytes<T>() -> usize {
    size_of::<Place<T>>()
}

fn index_of(place: usize) -> u32 {
    // The last number is left to mean "none" where indices are kept.
    u32::try_from(place).ok().filter(|&index| index != u32::MAX).expect("memory ends before 2^32 values")
}

impl<T> Default for Paged<T> {
    fn default() -> Paged<T> {
        Paged { pages: Vec::new(), len: 0, vacant: None }
    }
}

impl<T> Index<u32> for Paged<T> {
    type Output = T;

    fn index(&self, index: u32) -> &T {
        self.get(index).unwrap_or_else(|| panic!("no value has index {index}"))
    }
}

impl<T> IndexMut<u32> for Paged<T> {
    fn index_mut(&mut self, index: u32) -> &mut T {
        match self.place_mut(index) {
            Some(Place::Filled(value)) => value,
            _ => panic!("no value has index {index}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values keep their indices across page ends, and places are used again, the last one vacated first.
    #[test]
    fn indices_are_stable_and_reused() {
        let mut paged = Paged::default();
        let count = 2 * PAGE as u32 + 1;
        assert!((0..count).all(|n| paged.insert(Box::new(n)) == n));
        assert_eq!((paged.len(), paged.end(), paged.next_index()), (count as usize, count, count));
        assert_eq!([*paged.remove(5), *paged.remove(PAGE as u32)], [5, PAGE as u32]);
        assert!(paged.get(5).is_none() && paged.get(count).is_none());
        assert_eq!(paged.iter().count(), count as usize - 2);
        assert_eq!([paged.insert(Box::new(0)), paged.insert(Box::new(1))], [PAGE as u32, 5]);
        assert_eq!((*paged[5], *paged[PAGE as u32], paged.end()), (1, 0, count));
        *paged[5] += 1;
        assert_eq!(*paged[5], 2);
    }

    /// A vacant place costs no more than a filled one where the value leaves a bit pattern free.
    #[test]
    fn places_are_no_larger_than_values() {
        assert_eq!(place_bytes::<(Box<str>, u64)>(), size_of::<(Box<str>, u64)>());
    }

    /// Removing twice is an error of the caller.
    #[test]
    #[should_panic = "no value has index 0"]
    fn removing_what_is_not_there_panics() {
        let mut paged = Paged::default();
        paged.insert(Box::new(0));
        paged.remove(0);
        paged.remove(0);
    }
}
