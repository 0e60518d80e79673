//! `resource.Quantity`: exact fixed-point amounts with a suffix (`100m`, `1.5Gi`, `12e6`).
//!
//! A quantity remembers the family of its suffix and prints in canonical form: no fraction, no
//! precision lost, the largest suffix that fits. As upstream does, text that is already canonical
//! by a coarse test is printed as it was written (`1.500` stays `1.500`), since the normal form of
//! objects must agree with upstream's byte for byte.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use crate::tree::Value;

/// The family of suffixes a quantity is printed with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `n u m "" k M G T P E`
    #[default]
    DecimalSi,
    /// `Ki Mi Gi Ti Pi Ei`
    BinarySi,
    /// `e3`, `E-6`
    DecimalExponent,
}

/// Why text is not a quantity. The messages are what clients see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    FormatWrong,
    #[error("unable to parse numeric part of quantity")]
    Numeric,
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// Smallest kept unit: finer amounts are rounded away from zero.
const NANO: i32 = -9;
/// Digits an `i64` always holds; upstream's fast path (and its reuse of the text) ends there.
const INT64_DIGITS: i32 = 18;
/// Digits and exponents past this do not fit the exact representation and are refused.
const SIGNIFICANT_DIGITS_MAX: usize = 38;
const EXPONENT_MAX: i64 = 1_000;
/// Binary quantities are capped here while parsing.
const BINARY_MAX: i128 = i64::MAX as i128;

const DECIMAL_SUFFIXES: [(&str, i32); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
const BINARY_SUFFIXES: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

/// An amount: `mantissa * 10^scale`, exact.
#[derive(Clone, Debug, Default)]
pub struct Quantity {
    mantissa: i128,
    scale: i32,
    pub format: Format,
    /// The text it was read from, where that is printed again unchanged.
    text: Option<Box<str>>,
}

impl Quantity {
    /// `value` whole units.
    pub const fn new(value: i64, format: Format) -> Quantity {
        Quantity { mantissa: value as i128, scale: 0, format, text: None }
    }
    /// `value` thousandths.
    pub const fn milli(value: i64, format: Format) -> Quantity {
        Quantity { mantissa: value as i128, scale: -3, format, text: None }
    }
    pub const fn zero() -> Quantity {
        Quantity::new(0, Format::DecimalSi)
    }

    /// Reads a field of a document: a string (spaces around it are dropped) or a number. `null`
    /// is zero.
    pub fn from_value(value: &Value) -> Result<Quantity, ParseError> {
        match value {
            Value::Null => Ok(Quantity::zero()),
            Value::String(s) => s.trim().parse(),
            Value::Int(i) => i.to_string().parse(),
            Value::Float(f) => f.to_string().parse(),
            _ => Err(ParseError::FormatWrong),
        }
    }

    pub fn is_zero(&self) -> bool {
        self.mantissa == 0
    }
    /// -1, 0 or 1.
    pub fn sign(&self) -> i32 {
        self.mantissa.signum() as i32
    }
    /// Whole units, rounded away from zero; at most what an `i64` holds.
    pub fn value(&self) -> i64 {
        self.scaled_value(0)
    }
    /// Thousandths, rounded away from zero; at most what an `i64` holds.
    pub fn milli_value(&self) -> i64 {
        self.scaled_value(-3)
    }
    /// In units of `10^scale`, rounded away from zero; at most what an `i64` holds.
    pub fn scaled_value(&self, scale: i32) -> i64 {
        let (rounded, _) = rescale(self.mantissa, self.scale, scale);
        rounded.clamp(i64::MIN.into(), i64::MAX.into()) as i64
    }
    /// The nearest float; not for comparing.
    pub fn as_f64(&self) -> f64 {
        self.mantissa as f64 * 10f64.powi(self.scale)
    }

    /// `self + other`. A zero takes over the other's format.
    pub fn add(&mut self, other: &Quantity) {
        self.accumulate(other, other.mantissa);
    }
    /// `self - other`. A zero takes over the other's format.
    pub fn sub(&mut self, other: &Quantity) {
        self.accumulate(other, -other.mantissa);
    }
    /// `self * factor`, saturating.
    pub fn mul(&mut self, factor: i64) {
        self.text = None;
        self.mantissa = self.mantissa.saturating_mul(factor.into());
    }
    pub fn neg(&mut self) {
        self.text = None;
        self.mantissa = -self.mantissa;
    }

    fn accumulate(&mut self, other: &Quantity, mantissa: i128) {
        self.text = None;
        if self.is_zero() {
            self.format = other.format;
        }
        let (mut a, mut b) = ((self.mantissa, self.scale), (mantissa, other.scale));
        trim_zeros(&mut a);
        trim_zeros(&mut b);
        let mut scale = a.1.min(b.1);
        loop {
            let (x, _) = rescale(a.0, a.1, scale);
            let (y, _) = rescale(b.0, b.1, scale);
            // Only amounts 10^29 apart lose digits here, at the small end.
            if x.unsigned_abs() < i128::MAX as u128 / 2 && y.unsigned_abs() < i128::MAX as u128 / 2 {
                (self.mantissa, self.scale) = (x + y, scale);
                return;
            }
            scale += 3;
        }
    }

    /// Number and suffix, canonical.
    fn canonical(&self) -> (i128, String) {
        if self.is_zero() {
            return (0, String::new());
        }
        let mut format = self.format;
        if format == Format::BinarySi {
            let (whole, exact) = rescale(self.mantissa, self.scale, 0);
            if !exact || whole.unsigned_abs() < 1024 {
                format = Format::DecimalSi;
            } else {
                let (mut number, mut times) = (whole, 0);
                while number % 1024 == 0 && times + 1 < BINARY_SUFFIXES.len() {
                    number /= 1024;
                    times += 1;
                }
                return (number, BINARY_SUFFIXES[times].to_owned());
            }
        }
        let mut amount = (self.mantissa, self.scale);
        trim_zeros(&mut amount);
        let (mut number, mut exponent) = amount;
        while exponent.rem_euclid(3) != 0 {
            number = number.saturating_mul(10);
            exponent -= 1;
        }
        let suffix = DECIMAL_SUFFIXES.iter().find(|(_, e)| *e == exponent && format == Format::DecimalSi);
        let suffix = match suffix {
            Some((s, _)) => (*s).to_owned(),
            None if exponent == 0 => String::new(),
            None => format!("e{exponent}"),
        };
        (number, suffix)
    }
}

/// `mantissa * 10^from` in units of `10^to`, rounded away from zero, saturating; and whether that
/// is exact.
fn rescale(mantissa: i128, from: i32, to: i32) -> (i128, bool) {
    let saturated = if mantissa < 0 { i128::MIN + 1 } else { i128::MAX };
    match from.cmp(&to) {
        _ if mantissa == 0 => (0, true),
        Ordering::Equal => (mantissa, true),
        Ordering::Greater => {
            match 10i128.checked_pow((from - to) as u32).and_then(|p| mantissa.checked_mul(p)) {
                Some(m) => (m, true),
                None => (saturated, false),
            }
        }
        Ordering::Less => match 10i128.checked_pow((to - from) as u32) {
            Some(p) if mantissa % p == 0 => (mantissa / p, true),
            Some(p) => (mantissa / p + mantissa.signum(), false),
            None => (mantissa.signum(), false),
        },
    }
}

fn trim_zeros((mantissa, scale): &mut (i128, i32)) {
    if *mantissa == 0 {
        *scale = 0;
        return;
    }
    while *mantissa % 10 == 0 {
        *mantissa /= 10;
        *scale += 1;
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Quantity) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Quantity {}
impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Quantity) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
/// By amount; format and text do not matter.
impl Ord for Quantity {
    fn cmp(&self, other: &Quantity) -> Ordering {
        let scale = self.scale.min(other.scale);
        let (a, a_exact) = rescale(self.mantissa, self.scale, scale);
        let (b, b_exact) = rescale(other.mantissa, other.scale, scale);
        match (a_exact, b_exact) {
            (false, true) if a > 0 => Ordering::Greater,
            (false, true) => Ordering::Less,
            (true, false) if b > 0 => Ordering::Less,
            (true, false) => Ordering::Greater,
            _ => a.cmp(&b),
        }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(text) = &self.text {
            return f.write_str(text);
        }
        let (number, suffix) = self.canonical();
        write!(f, "{number}{suffix}")
    }
}
impl From<&Quantity> for Value {
    fn from(q: &Quantity) -> Value {
        q.to_string().into()
    }
}

/// The pieces of `[sign][whole][.fraction][suffix]`; a missing whole part is "0".
struct Pieces<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    suffix: &'a str,
}

fn split(text: &str) -> Result<Pieces<'_>, ParseError> {
    let negative = text.starts_with('-');
    let rest = text.strip_prefix(['-', '+']).unwrap_or(text).trim_start_matches('0');
    let digits = |s: &str| s.find(|c: char| !c.is_ascii_digit()).unwrap_or(s.len());
    let (whole, rest) = rest.split_at(digits(rest));
    let (fraction, suffix) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(digits(rest)),
        None => ("", rest),
    };
    let tail = suffix.trim_start_matches(|c: char| "eEinumkKMGTP".contains(c));
    let tail = tail.strip_prefix(['-', '+']).unwrap_or(tail);
    if !tail.bytes().all(|b| b.is_ascii_digit()) {
        return Err(ParseError::FormatWrong);
    }
    Ok(Pieces { negative, whole: if whole.is_empty() { "0" } else { whole }, fraction, suffix })
}

/// Exponent (of ten, or of two for `BinarySi`) and family of a suffix.
fn suffix(text: &str) -> Result<(i32, Format), ParseError> {
    if let Some((_, exponent)) = DECIMAL_SUFFIXES.iter().find(|(s, _)| *s == text) {
        return Ok((*exponent, Format::DecimalSi));
    }
    if let Some(times) = BINARY_SUFFIXES.iter().position(|s| *s == text) {
        return Ok((10 * times as i32, Format::BinarySi));
    }
    let exponent = text.strip_prefix(['e', 'E']).ok_or(ParseError::Suffix)?;
    let exponent: i64 = exponent.parse().map_err(|_| ParseError::Suffix)?;
    if exponent.abs() > EXPONENT_MAX {
        return Err(ParseError::Suffix);
    }
    Ok((exponent as i32, Format::DecimalExponent))
}

impl FromStr for Quantity {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Quantity, ParseError> {
        if text.is_empty() {
            return Err(ParseError::FormatWrong);
        }
        let pieces = split(text)?;
        let (exponent, mut format) = suffix(pieces.suffix)?;
        let places = pieces.fraction.len();
        let shifted = format!("{}{}", pieces.whole, pieces.fraction);
        if shifted.trim_start_matches('0').len() > SIGNIFICANT_DIGITS_MAX {
            return Err(ParseError::Numeric);
        }
        let digits: i128 = shifted.parse().map_err(|_| ParseError::Numeric)?;
        let places = i32::try_from(places).map_err(|_| ParseError::Numeric)?;

        let (mut mantissa, mut scale) = (digits, -places);
        let keep_text = match format {
            Format::BinarySi => {
                mantissa = mantissa.checked_mul(1i128 << exponent).unwrap_or(i128::MAX);
                let spare = 15 - pieces.whole.len() as i32 - exponent * 3 / 10 - 1;
                places == 0 && spare >= 0 && digits & 7 != 0
            }
            _ => {
                scale += exponent;
                let fast = shifted.len() as i32 <= INT64_DIGITS && scale >= NANO;
                fast && scale % 3 == 0 && !shifted.ends_with("000") && !shifted.starts_with('0')
            }
        };
        if scale < NANO {
            (mantissa, _) = rescale(mantissa, scale, NANO);
            scale = NANO;
        }
        if format == Format::BinarySi {
            let (whole, exact) = rescale(mantissa, scale, 0);
            if whole > BINARY_MAX {
                (mantissa, scale) = (BINARY_MAX, 0);
            } else if whole == 1 && !exact {
                format = Format::DecimalSi;
            }
        }
        if pieces.negative {
            mantissa = -mantissa;
        }
        Ok(Quantity { mantissa, scale, format, text: keep_text.then(|| text.into()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn q(s: &str) -> Quantity {
        s.parse().unwrap_or_else(|e| panic!("{s}: {e}"))
    }

    #[test]
    fn prints_canonically() {
        for (input, expected) in [
            ("0", "0"),
            ("00", "0"),
            ("0Gi", "0"),
            ("0.000", "0"),
            ("-0", "0"),
            ("1000m", "1"),
            ("1024Mi", "1Gi"),
            ("1028Mi", "1028Mi"),
            ("1.5Gi", "1536Mi"),
            ("0.5Ki", "512"),
            ("1.5", "1500m"),
            ("1.500", "1.500"),
            ("0.5", "500m"),
            (".5", "500m"),
            ("100m", "100m"),
            ("1000", "1k"),
            ("1500", "1500"),
            ("12e6", "12e6"),
            ("1E3", "1E3"),
            ("1000e3", "1e6"),
            ("1e2", "100"),
            ("0.9n", "1n"),
            ("1.2345", "1234500u"),
            ("-1.5Gi", "-1536Mi"),
            ("+5", "+5"),
            ("1024", "1024"),
            ("1Ki", "1Ki"),
            ("1023", "1023"),
            ("8Ei", "9223372036854775807"),
            ("18446744073709551616", "18446744073709551616"),
            ("1000E", "1e21"),
            ("0.0001Ki", "102400u"),
            ("123456789012345678", "123456789012345678"),
        ] {
            assert_eq!(q(input).to_string(), expected, "{input}");
        }
    }

    #[test]
    fn refuses_as_upstream_does() {
        for (input, expected) in [
            ("", ParseError::FormatWrong),
            ("abc", ParseError::FormatWrong),
            ("1 Gi", ParseError::FormatWrong),
            ("1.2.3", ParseError::FormatWrong),
            ("1KiB", ParseError::FormatWrong),
            ("1i", ParseError::Suffix),
            ("1Gi5", ParseError::Suffix),
            ("1mm", ParseError::Suffix),
            ("1e", ParseError::Suffix),
            ("é", ParseError::FormatWrong),
        ] {
            assert_eq!(input.parse::<Quantity>(), Err(expected), "{input}");
        }
    }

    #[test]
    fn counts_exactly() {
        assert_eq!(q("1.5").value(), 2);
        assert_eq!(q("-1.5").value(), -2);
        assert_eq!(q("1u").milli_value(), 1);
        assert_eq!(q("2Gi").value(), 2 << 30);
        assert_eq!(q("1e40").value(), i64::MAX);
        assert!(q("1e40") > q("1Ei") && q("-1e40") < q("0") && q("1e40") < q("1e41"));
        assert!(q("1Gi") > q("1G") && q("1000m") == q("1") && q("0.1") == q("100m"));
        let mut sum = Quantity::zero();
        sum.add(&q("100m"));
        sum.add(&q("1900m"));
        assert_eq!(sum.to_string(), "2");
        let mut memory = Quantity::zero();
        memory.add(&q("512Mi"));
        memory.add(&q("512Mi"));
        assert_eq!(memory.to_string(), "1Gi");
        memory.sub(&q("1Gi"));
        assert!(memory.is_zero());
        assert_eq!(Quantity::milli(2500, Format::DecimalSi).to_string(), "2500m");
    }

    #[test]
    fn reads_numbers_of_documents() {
        assert_eq!(Quantity::from_value(&Value::Int(2)).unwrap().to_string(), "2");
        assert_eq!(Quantity::from_value(&Value::Float(0.1)).unwrap().to_string(), "100m");
        assert_eq!(Quantity::from_value(&" 1Gi ".into()).unwrap().to_string(), "1Gi");
        assert!(Quantity::from_value(&Value::Bool(true)).is_err());
    }
}
