//! Audiences as they are: a few large rooms and many small ones.

/// Divides `subscribers` among rooms so that the room of rank `k` has a share in proportion to `1 / k^exponent`, and
/// none is empty. The largest comes first; fractions go to those whose fraction is largest, and then to the larger
/// room. None where there are fewer subscribers than rooms.
pub fn sizes(subscribers: u32, rooms: u32, exponent: f64) -> Option<Vec<u32>> {
    if subscribers < rooms || rooms == 0 {
        return None;
    }
    let weights: Vec<f64> = (1..=rooms).map(|rank| f64::from(rank).powf(-exponent)).collect();
    // Rooms whose share is below one get one, and the others share what remains.
    let mut sum: f64 = weights.iter().sum();
    let mut larger = weights.len();
    let mut left = subscribers;
    while larger > 0 && f64::from(left) * weights[larger - 1] < sum {
        larger -= 1;
        left -= 1;
        sum -= weights[larger];
    }
    let shares: Vec<f64> = weights[..larger].iter().map(|weight| f64::from(left) * weight / sum).collect();
    let mut sizes: Vec<u32> = shares.iter().map(|share| *share as u32).collect();
    let mut by_fraction: Vec<usize> = (0..larger).collect();
    by_fraction.sort_by(|a, b| shares[*b].fract().total_cmp(&shares[*a].fract()));
    let missing = left - sizes.iter().sum::<u32>();
    for room in by_fraction.into_iter().take(missing as usize) {
        sizes[room] += 1;
    }
    sizes.resize(weights.len(), 1);
    Some(sizes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever is asked for, all have a room, no room is empty, and none is larger than one before it by more than
    /// rounding.
    #[test]
    fn sizes_add_up() {
        for subscribers in [1, 7, 100, 1000, 18_000] {
            for rooms in [1, 2, 7, 100, 1000] {
                for exponent in [0.0, 0.5, 1.0, 2.0, 10.0] {
                    let Some(sizes) = sizes(subscribers, rooms, exponent) else {
                        assert!(subscribers < rooms);
                        continue;
                    };
                    let said = format!("{subscribers} in {rooms}, exponent {exponent}: {sizes:?}");
                    assert_eq!((sizes.len(), sizes.iter().sum::<u32>()), (rooms as usize, subscribers), "{said}");
                    assert!(sizes.iter().all(|size| *size > 0), "{said}");
                    assert!(sizes.is_sorted_by(|larger, smaller| larger + 1 >= *smaller), "{said}");
                }
            }
        }
    }

    /// With exponent 1 the second room has half of the first, the third a third.
    #[test]
    fn law_of_zipf() {
        assert_eq!(sizes(11, 3, 1.0).unwrap(), [6, 3, 2]);
        assert_eq!(sizes(10, 4, 0.0).unwrap(), [3, 3, 2, 2]);
        assert_eq!(sizes(10, 4, 10.0).unwrap(), [7, 1, 1, 1]);
    }
}
