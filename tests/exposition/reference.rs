//! The same format read slowly: one character after the other into owned values, nothing skipped unread but what the
//! contract says. Shares no code with the parser that it checks.

/// A sample in values of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnedSample {
    pub name: String,
    pub labels: Vec<(String, String)>,
    pub value: f64,
    pub timestamp: Option<f64>,
}

/// Reads an exposition; the error is the number of the first bad line.
pub fn parse(exposition: &[u8], families: &[&str], prefixes: &[&str]) -> Result<Vec<OwnedSample>, usize> {
    let mut samples = Vec::new();
    let mut lines: Vec<&[u8]> = exposition.split(|byte| *byte == b'\n').collect();
    let unfinished = lines.pop().unwrap_or_default();
    for (index, line) in lines.iter().enumerate() {
        if matches!(*line, b"# EOF" | b"# EOF\r") {
            let is_last = index + 1 == lines.len() && unfinished.is_empty();
            return if is_last { Ok(samples) } else { Err(index + 2) };
        }
        samples.extend(read_line(line, families, prefixes).map_err(|()| index + 1)?);
    }
    let last = trimmed(unfinished);
    match last.is_empty() || last == b"# EOF" {
        true => Ok(samples),
        false => Err(lines.len() + 1),
    }
}

fn read_line(line: &[u8], families: &[&str], prefixes: &[&str]) -> Result<Option<OwnedSample>, ()> {
    let line = trimmed(line);
    let Some(first) = line.first() else { return Ok(None) };
    if *first == b'#' || *first == b'{' {
        return Ok(None);
    }
    if !(first.is_ascii_alphabetic() || *first == b'_' || *first == b':') {
        return Err(());
    }
    let name: String = line
        .iter()
        .take_while(|byte| in_name(**byte))
        .map(|byte| char::from(*byte))
        .collect();
    if !wanted(&name, line, families, prefixes) {
        return Ok(None);
    }
    let characters = std::str::from_utf8(line)
        .map_err(|_| ())?
        .chars()
        .skip(name.len())
        .collect();
    let mut reader = Reader { characters, at: 0 };
    reader.sample(name).map(Some)
}

fn wanted(name: &str, line: &[u8], families: &[&str], prefixes: &[&str]) -> bool {
    let suffixes = ["", "_bucket", "_count", "_sum", "_total", "_created"];
    let of_family = families
        .iter()
        .any(|family| suffixes.iter().any(|suffix| name == format!("{family}{suffix}")));
    of_family || prefixes.iter().any(|prefix| line.starts_with(prefix.as_bytes()))
}

fn in_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':'
}

fn trimmed(line: &[u8]) -> &[u8] {
    let mut line = line;
    if line.last() == Some(&b'\r') {
        line = &line[..line.len() - 1];
    }
    while matches!(line.first(), Some(b' ' | b'\t')) {
        line = &line[1..];
    }
    while matches!(line.last(), Some(b' ' | b'\t')) {
        line = &line[..line.len() - 1];
    }
    line
}

/// A decimal number with or without a fraction and an exponent, an infinity, or not a number: nothing else that a library
/// may take for one.
fn is_number(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    if ["inf", "infinity", "nan"]
        .iter()
        .any(|word| text.eq_ignore_ascii_case(word))
    {
        return true;
    }
    let (digits, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    let all = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    let there = !whole.is_empty() || !fraction.is_empty();
    there && all(whole) && all(fraction) && !exponent.is_empty() && all(exponent)
}

struct Reader {
    characters: Vec<char>,
    at: usize,
}

impl Reader {
    fn sample(&mut self, name: String) -> Result<OwnedSample, ()> {
        let blank = self.blanks();
        let labels = match self.peek() {
            Some('{') => self.labels()?,
            _ if blank => Vec::new(),
            _ => return Err(()),
        };
        let value = self.number()?;
        self.blanks();
        let timestamp = self.timestamp()?;
        if self.peek() == Some('#') {
            self.at += 1;
            self.blanks();
            self.labels()?;
            self.number()?;
            self.blanks();
            self.timestamp()?;
        }
        match self.peek() {
            None => Ok(OwnedSample {
                name,
                labels,
                value,
                timestamp,
            }),
            Some(_) => Err(()),
        }
    }

    fn timestamp(&mut self) -> Result<Option<f64>, ()> {
        if matches!(self.peek(), None | Some('#')) {
            return Ok(None);
        }
        let timestamp = self.number()?;
        self.blanks();
        if timestamp.is_finite() {
            Ok(Some(timestamp))
        } else {
            Err(())
        }
    }

    fn labels(&mut self) -> Result<Vec<(String, String)>, ()> {
        self.expect('{')?;
        let mut labels = Vec::new();
        loop {
            self.blanks();
            if self.peek() == Some('}') {
                self.at += 1;
                return Ok(labels);
            }
            labels.push(self.label()?);
            self.blanks();
            match self.peek() {
                Some(',') => self.at += 1,
                Some('}') => {}
                _ => return Err(()),
            }
        }
    }

    fn label(&mut self) -> Result<(String, String), ()> {
        let name = match self.peek() {
            Some('"') => self.quoted_name()?,
            _ => self.plain_name()?,
        };
        self.blanks();
        self.expect('=')?;
        self.blanks();
        self.expect('"')?;
        let mut value = String::new();
        loop {
            match self.take()? {
                '"' => return Ok((name, value)),
                '\\' => match self.take()? {
                    'n' => value.push('\n'),
                    '\\' => value.push('\\'),
                    '"' => value.push('"'),
                    other => value.extend(['\\', other]),
                },
                other => value.push(other),
            }
        }
    }

    fn plain_name(&mut self) -> Result<String, ()> {
        let mut name = String::new();
        while let Some(character) = self
            .peek()
            .filter(|character| character.is_ascii_alphanumeric() || *character == '_')
        {
            name.push(character);
            self.at += 1;
        }
        match name.chars().next() {
            Some(first) if !first.is_ascii_digit() => Ok(name),
            _ => Err(()),
        }
    }

    /// As it is written between the quotes.
    fn quoted_name(&mut self) -> Result<String, ()> {
        self.expect('"')?;
        let mut name = String::new();
        loop {
            match self.take()? {
                '"' if name.is_empty() => return Err(()),
                '"' => return Ok(name),
                '\\' => name.extend(['\\', self.take()?]),
                other => name.push(other),
            }
        }
    }

    fn number(&mut self) -> Result<f64, ()> {
        self.blanks();
        let mut text = String::new();
        while let Some(character) = self.peek().filter(|character| !matches!(character, ' ' | '\t')) {
            text.push(character);
            self.at += 1;
        }
        if is_number(&text) {
            text.parse().map_err(|_| ())
        } else {
            Err(())
        }
    }

    fn blanks(&mut self) -> bool {
        let start = self.at;
        while matches!(self.peek(), Some(' ' | '\t')) {
            self.at += 1;
        }
        self.at > start
    }

    fn peek(&self) -> Option<char> {
        self.characters.get(self.at).copied()
    }

    fn take(&mut self) -> Result<char, ()> {
        let character = self.peek().ok_or(())?;
        self.at += 1;
        Ok(character)
    }

    fn expect(&mut self, wanted: char) -> Result<(), ()> {
        if self.take()? == wanted { Ok(()) } else { Err(()) }
    }
}
