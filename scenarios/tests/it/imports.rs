//! The imports between the top-level modules of a crate, read from the sources, and a check that they go in
//! one direction.
//!
//! A folder counts as one module. Every path that starts with `crate::`, or that leaves the module with
//! `super::`, is an import, in a `use` or elsewhere. Comments, strings and test-only code do not count. The
//! crate's root declares every module, so an import through the root (`crate::Name`, a re-export) closes a
//! cycle. Such a name must be imported from the module that defines it.
//!
//! Not detected: the call of a method that another module adds to a type, because it needs no import.
#![expect(clippy::disallowed_methods, reason = "the sources are real files")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The name of the crate's root in the graph.
const ROOT: &str = "lib";
/// The roots of binaries, which use the library from outside.
const BINARIES: &[&str] = &["main.rs", "bin/"];

/// Fails if the modules in `src` import each other in a cycle. The error names the cycle.
pub fn check(src: &Path) -> Result<(), String> {
    Imports::read(src).cycle().map_or(Ok(()), |cycle| Err(format!("a cycle of imports:\n{cycle}")))
}

/// Fails if a module in `order` imports an earlier one, directly or through others. Modules that are not in
/// `order` may be anywhere.
pub fn check_order(src: &Path, order: &[&str]) -> Result<(), String> {
    Imports::read(src).check_order(order)
}

/// For each module, the modules that it imports, each with the first place of the import.
struct Imports(BTreeMap<String, BTreeMap<String, String>>);

impl Imports {
    fn read(src: &Path) -> Self {
        let mut paths = Vec::new();
        collect(src, &mut paths);
        paths.sort();
        Self::of(paths.iter().map(|path| {
            let relative = path.strip_prefix(src).unwrap().to_string_lossy().replace('\\', "/");
            (relative, std::fs::read_to_string(path).unwrap())
        }))
    }

    /// The imports of sources, each with its path in `src`.
    fn of(sources: impl IntoIterator<Item = (String, String)>) -> Self {
        let sources: Vec<(String, Vec<String>, Vec<Token>)> = sources
            .into_iter()
            .filter(|(path, _)| !BINARIES.iter().any(|binary| path.starts_with(binary)))
            .map(|(path, text)| {
                let module = module_of(&path);
                (path, module, tokens(&text))
            })
            .collect();
        let for_tests: Vec<Vec<String>> =
            sources.iter().flat_map(|(_, module, tokens)| modules_for_tests(module, tokens)).collect();
        let mut imports = Self(BTreeMap::new());
        for (path, module, tokens) in sources {
            if for_tests.iter().any(|test| module.starts_with(test)) {
                continue;
            }
            let top = module.first().map_or(ROOT, String::as_str).to_owned();
            imports.0.entry(top.clone()).or_default();
            for (target, line) in (Reader { tokens: &without_tests(tokens), module }).imports() {
                if target != top {
                    let place = format!("{top} imports {target}: {path}:{line}");
                    imports.0.entry(top.clone()).or_default().entry(target).or_insert(place);
                }
            }
        }
        imports.close_through_root();
        imports
    }

    /// A name that is not a module belongs to the root, and the root declares all modules.
    fn close_through_root(&mut self) {
        let modules: BTreeSet<String> = self.0.keys().cloned().collect();
        for (module, targets) in &mut self.0 {
            let names: Vec<String> =
                targets.keys().filter(|name| !modules.contains(*name)).cloned().collect();
            for name in names {
                let place = targets.remove(&name).expect("it is one of the keys");
                targets.entry(ROOT.into()).or_insert(place);
            }
            if module == ROOT {
                let declared = modules.iter().filter(|name| *name != ROOT);
                *targets = declared.map(|name| (name.clone(), format!("{ROOT} declares {name}"))).collect();
            }
        }
    }

    /// The first cycle, one import per line.
    fn cycle(&self) -> Option<String> {
        self.0.keys().find_map(|module| self.way(module, &|name| name == module))
    }

    fn check_order(&self, order: &[&str]) -> Result<(), String> {
        if let Some(missing) = order.iter().find(|name| !self.0.contains_key(**name)) {
            return Err(format!("there is no module {missing}"));
        }
        for (index, module) in order.iter().enumerate() {
            if let Some(way) = self.way(module, &|name| order[..index].contains(&name)) {
                return Err(format!("{module} must not import {}:\n{way}", order[..index].join(", ")));
            }
        }
        Ok(())
    }

    /// The shortest path of imports from a module to one for which `is_end` is true, one import per line.
    fn way(&self, from: &str, is_end: &dyn Fn(&str) -> bool) -> Option<String> {
        let mut seen = BTreeSet::new();
        let mut ways = vec![(from, Vec::new())];
        while !ways.is_empty() {
            let mut longer = Vec::new();
            for (module, way) in ways {
                for (target, place) in self.0.get(module).into_iter().flatten() {
                    let way: Vec<&str> = way.iter().copied().chain([place.as_str()]).collect();
                    if is_end(target) {
                        return Some(way.join("\n"));
                    }
                    if seen.insert(target.as_str()) {
                        longer.push((target.as_str(), way));
                    }
                }
            }
            ways = longer;
        }
        None
    }
}

fn collect(directory: &Path, paths: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

/// The module of a file, as names from the root.
fn module_of(path: &str) -> Vec<String> {
    let path = path.strip_suffix(".rs").unwrap_or(path);
    let mut names: Vec<String> = path.split('/').map(str::to_owned).collect();
    if names.last().is_some_and(|name| name == "mod") || path == ROOT {
        names.pop();
    }
    names
}

/// An identifier, `::` or another character that is not blank, and its line.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Token {
    text: String,
    line: usize,
}

/// The tokens of a source, without comments, strings, characters and lifetimes.
fn tokens(source: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let (mut rest, mut line) = (source, 1);
    while let Some(first) = rest.chars().next() {
        let (length, is_token) = if let Some(length) = skipped(rest) {
            (length, false)
        } else if first.is_alphanumeric() || first == '_' {
            (identifier(rest), true)
        } else if rest.starts_with("::") {
            (2, true)
        } else {
            (first.len_utf8(), !first.is_whitespace())
        };
        if is_token {
            found.push(Token { text: rest[..length].to_owned(), line });
        }
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    found
}

/// The length of the comment, string, character or lifetime at the start of a text.
fn skipped(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return Some(block_comment(text));
    }
    if let Some(rest) = text.strip_prefix('\'') {
        let mut chars = rest.chars();
        let is_character = chars.next() == Some('\\') || chars.next() == Some('\'');
        return Some(if is_character { quoted(text, '\'') } else { 1 + identifier(rest) });
    }
    let quote = text.trim_start_matches(['b', 'c']);
    if quote.starts_with('"') && text.len() - quote.len() <= 1 {
        return Some(text.len() - quote.len() + quoted(quote, '"'));
    }
    let hashes = quote.strip_prefix('r')?;
    let end = format!("\"{}", &hashes[..hashes.len() - hashes.trim_start_matches('#').len()]);
    let body = hashes.trim_start_matches('#').strip_prefix('"')?;
    let length = body.find(&end).map_or(body.len(), |at| at + end.len());
    Some(text.len() - body.len() + length)
}

/// The length of the identifier at the start of a text.
fn identifier(text: &str) -> usize {
    text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len())
}

/// The length of the text between two unescaped `quote`s, including the quotes.
fn quoted(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        match text.as_bytes()[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// If an attribute like `#[cfg(test)]` is at `at`: the end of the attribute, and the end of the item after
/// it.
fn test_item(tokens: &[Token], at: usize) -> Option<(usize, usize)> {
    let is = |index: usize, text: &str| tokens.get(index).is_some_and(|token| token.text == text);
    if !(is(at, "#") && is(at + 1, "[") && is(at + 2, "cfg")) {
        return None;
    }
    let attribute = end_of_group(tokens, at + 1);
    let names = &tokens[at..attribute];
    if !names.iter().any(|token| token.text == "test") || names.iter().any(|token| token.text == "not") {
        return None;
    }
    let mut end = attribute;
    while end < tokens.len() && !is(end, ";") {
        if is(end, "{") {
            return Some((attribute, end_of_group(tokens, end)));
        }
        end = if is(end, "(") || is(end, "[") { end_of_group(tokens, end) } else { end + 1 };
    }
    Some((attribute, (end + 1).min(tokens.len())))
}

/// The index after the group that opens at `open`.
fn end_of_group(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return index + 1;
        }
    }
    tokens.len()
}

fn without_tests(tokens: Vec<Token>) -> Vec<Token> {
    let mut kept = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        if let Some((_, end)) = test_item(&tokens, at) {
            at = end;
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

/// The modules in separate files that `module` declares only for tests.
fn modules_for_tests(module: &[String], tokens: &[Token]) -> Vec<Vec<String>> {
    let items = (0..tokens.len()).filter_map(|at| test_item(tokens, at));
    items
        .filter_map(|(begin, end)| match &tokens[begin..end] {
            [keyword, name, _] if keyword.text == "mod" => {
                Some([module, std::slice::from_ref(&name.text)].concat())
            }
            _ => None,
        })
        .collect()
}

/// Finds the paths in a file that lead to the root's names.
struct Reader<'a> {
    tokens: &'a [Token],
    module: Vec<String>,
}

impl Reader<'_> {
    fn imports(&self) -> Vec<(String, usize)> {
        let mut found = Vec::new();
        let mut module = self.module.clone();
        // For each open brace, whether it belongs to a module.
        let mut braces = Vec::new();
        for at in 0..self.tokens.len() {
            match self.text(at) {
                "{" => {
                    let is_module = at >= 2 && self.text(at - 2) == "mod";
                    if is_module {
                        module.push(self.text(at - 1).to_owned());
                    }
                    braces.push(is_module);
                }
                "}" if braces.pop() == Some(true) => drop(module.pop()),
                "crate" | "super" if self.text(at + 1) == "::" && !self.continues_path(at) => {
                    self.follow(at, module.clone(), &mut found);
                }
                _ => {}
            }
        }
        found
    }

    fn text(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |token| token.text.as_str())
    }

    fn continues_path(&self, at: usize) -> bool {
        at > 0 && self.text(at - 1) == "::"
    }

    /// Follows a path, or a group of paths, that starts in the module `base`.
    fn follow(&self, mut at: usize, mut base: Vec<String>, found: &mut Vec<(String, usize)>) {
        loop {
            match self.text(at) {
                "crate" => base.clear(),
                "super" => drop(base.pop()),
                "self" => {}
                "{" => return self.follow_group(at, &base, found),
                name => {
                    if base.is_empty() {
                        found.push((name.to_owned(), self.tokens[at].line));
                    }
                    return;
                }
            }
            if self.text(at + 1) != "::" {
                return;
            }
            at += 2;
        }
    }

    fn follow_group(&self, open: usize, base: &[String], found: &mut Vec<(String, usize)>) {
        let end = end_of_group(self.tokens, open) - 1;
        let mut at = open + 1;
        while at < end {
            self.follow(at, base.to_vec(), found);
            while at < end && self.text(at) != "," {
                at = if self.text(at) == "{" { end_of_group(self.tokens, at) } else { at + 1 };
            }
            at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imports(sources: &[(&str, &str)]) -> Imports {
        Imports::of(sources.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())))
    }

    fn targets<'a>(imports: &'a Imports, module: &str) -> Vec<&'a str> {
        imports.0[module].keys().map(String::as_str).collect()
    }

    const ROOT_FILE: (&str, &str) =
        ("lib.rs", "mod a;\nmod b;\nmod c;\n#[cfg(test)]\nmod probes;\npub use a::A;\n");

    #[test]
    fn a_cycle_is_found_and_told() {
        let cyclic = imports(&[
            ROOT_FILE,
            ("a.rs", "use crate::b::B;\n"),
            ("b/mod.rs", "mod inner;\n"),
            ("b/inner.rs", "\nuse super::super::c;\n"),
            ("c.rs", "fn f() { crate::a::g() }\n"),
        ]);
        let expected = "a imports b: a.rs:1\nb imports c: b/inner.rs:2\nc imports a: c.rs:1";
        assert_eq!(cyclic.cycle().as_deref(), Some(expected));
    }

    #[test]
    fn what_is_not_compiled_closes_no_cycle() {
        let acyclic = imports(&[
            ROOT_FILE,
            ("a.rs", "use crate::b::B;\n"),
            ("b/mod.rs", "mod inner;\n#[cfg(test)]\nmod probes;\nuse inner::B;\n"),
            ("b/probes.rs", "use crate::a;\n"),
            (
                "b/inner.rs",
                "use super::helper;\nconst S: &str = r#\"crate::a \" \"#; const C: char = '\"';\n",
            ),
            (
                "c.rs",
                "//! crate::c\n/* crate::a /* crate::b */ crate::a */ use crate::{a::{A, B}, b};\n\
                 #[cfg(test)]\nmod tests { use crate::d; }\n#[cfg(not(test))] fn f<'a>(x: &'a str) { \"crate::c\\\" crate::d\"; }\n",
            ),
            ("probes.rs", "use crate::a;\n"),
            ("main.rs", "use crate::a;\n"),
        ]);
        assert_eq!(acyclic.cycle(), None);
        assert_eq!(targets(&acyclic, "c"), ["a", "b"]);
        assert_eq!(targets(&acyclic, "b"), [""; 0]);
        assert!(!acyclic.0.contains_key("probes") && !acyclic.0.contains_key("main"));
    }

    #[test]
    fn an_import_through_the_root_closes_a_cycle() {
        for (path, name) in [("crate::A", "A"), ("super::A", "A"), ("super::{c, A}", "A"), ("crate::*", "*")]
        {
            let source = format!("use {path};");
            let sources = [ROOT_FILE, ("a.rs", ""), ("b.rs", source.as_str()), ("c.rs", "")];
            let expected = format!("b imports {name}: b.rs:1\nlib declares b");
            assert_eq!(imports(&sources).cycle(), Some(expected), "{path}");
        }
    }

    #[test]
    fn super_in_a_module_within_a_file_stays_in_the_file() {
        let found = imports(&[
            ROOT_FILE,
            ("a.rs", "mod inner { use super::b; use super::super::c; }\nuse super::c;"),
            ("b.rs", ""),
            ("c.rs", ""),
        ]);
        assert_eq!(targets(&found, "a"), ["c"]);
    }

    #[test]
    fn an_import_against_the_order_is_told_with_its_way() {
        let sources = [ROOT_FILE, ("a.rs", "use crate::b;"), ("b.rs", "use crate::c;"), ("c.rs", "")];
        assert_eq!(imports(&sources).check_order(&["a", "b", "c"]), Ok(()));
        assert_eq!(
            imports(&sources).check_order(&["c", "a"]),
            Err("a must not import c:\na imports b: a.rs:1\nb imports c: b.rs:1".into())
        );
        assert_eq!(imports(&sources).check_order(&["a", "d"]), Err("there is no module d".into()));
    }
}
