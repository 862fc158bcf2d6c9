//! Settings as rows of a table, and how their values are read: from the command line, the environment, or the default.

use clap::Arg;
use std::collections::BTreeMap;
use std::time::Duration;

/// No artificial delay, timeout or interval is longer than this.
const DURATION_MAX_S: f64 = 86_400.0;

/// A setting: how it is given, what it may be, and what `--help` says of it.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) flag: &'static str,
    pub(super) value_name: &'static str,
    pub(super) check: Check,
    /// As on a command line, or a description; empty if there is none.
    pub(super) default: &'static str,
    pub(super) help: &'static str,
    /// Where the value is looked up if there is no flag: the first that is set. Empty for the flag in capitals.
    pub(super) variables: &'static [&'static str],
}

/// What the value of a setting may be.
#[derive(Debug)]
pub(super) enum Check {
    /// A whole number in a range.
    Whole(usize, usize),
    /// Seconds, so many or more.
    Seconds(f64),
    /// `1` or `0`; a flag alone says `1`.
    Switch,
    /// What the reader of the setting takes.
    Other,
}

/// Writes rows down: flag, name of the value, check, default, help, and the variables unless they are the flag in
/// capitals.
macro_rules! table {
    ($($flag:literal $value:literal $check:expr, $default:literal, $help:literal $(, [$($variable:literal),*])?;)*) => {
        &[$(Row {
            flag: $flag,
            value_name: $value,
            check: $check,
            default: $default,
            help: $help,
            variables: &[$($($variable),*)?],
        }),*]
    };
}
pub(super) use table;

impl Row {
    pub(super) fn variables(&self) -> Vec<String> {
        match self.variables {
            [] => vec![self.flag.to_uppercase().replace('-', "_")],
            variables => variables.iter().map(|variable| (*variable).to_owned()).collect(),
        }
    }

    /// The flag on a command line.
    pub(super) fn argument(&self) -> Arg {
        let default = if self.default.is_empty() { String::new() } else { format!(" [default: {}]", self.default) };
        let help = format!("{} [env: {}]{default}", self.help, self.variables().join(" or "));
        let flag = Arg::new(self.flag).long(self.flag).value_name(self.value_name).help(help);
        if matches!(self.check, Check::Switch) { flag.num_args(0..=1).default_missing_value("1") } else { flag }
    }
}

/// Everything that is wrong with a configuration, a sentence each.
pub(crate) type Faults = Vec<String>;

/// Looks a variable up.
pub(crate) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The values of the flags on a command line, by the names of the flags.
pub(super) type Values = BTreeMap<String, String>;

/// Reads the settings of a table, and gathers what is wrong with them.
pub(super) struct Reader<'a> {
    pub(super) tables: [&'static [Row]; 2],
    pub(super) values: &'a Values,
    pub(super) environment: Environment<'a>,
    pub(super) faults: Faults,
}

impl Reader<'_> {
    pub(super) fn finish<T>(self, settings: T) -> Result<T, Faults> {
        if self.faults.is_empty() { Ok(settings) } else { Err(self.faults) }
    }

    pub(super) fn row(&self, flag: &str) -> &'static Row {
        let row = self.tables.into_iter().flatten().find(|row| row.flag == flag);
        row.unwrap_or_else(|| panic!("the table has no row for --{flag}"))
    }

    /// What is given for a setting, with the name of the flag or variable.
    pub(super) fn given(&self, row: &Row) -> Option<(String, String)> {
        let flag = self.values.get(row.flag).map(|value| (format!("--{}", row.flag), value.clone()));
        flag.or_else(|| row.variables().into_iter().find_map(|name| self.variable(name)))
    }

    /// An empty variable counts as not set: a compose file cannot leave one out.
    fn variable(&self, name: String) -> Option<(String, String)> {
        (self.environment)(&name).filter(|value| !value.is_empty()).map(|value| (name, value))
    }

    fn checked<T>(&mut self, given: Option<(String, String)>, check: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let (source, text) = given?;
        let checked = check(text.trim());
        checked.map_err(|why| self.faults.push(format!("{source}: {why}"))).ok()
    }

    /// What is given for a setting; nothing if that is wrong, too.
    pub(super) fn optional<T>(&mut self, flag: &str, check: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        self.checked(self.given(self.row(flag)), check)
    }

    /// The same for a variable that has no flag.
    pub(super) fn variable_alone<T>(&mut self, name: &str, check: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        self.checked(self.variable(name.to_owned()), check)
    }

    /// What is given for a setting, or the default in its row.
    pub(super) fn value<T>(&mut self, flag: &str, check: impl Fn(&str) -> Result<T, String>) -> T {
        let default = self.row(flag).default;
        self.optional(flag, &check).unwrap_or_else(|| check(default).expect("the default of a row passes its check"))
    }

    pub(super) fn number<T: TryFrom<usize>>(&mut self, flag: &str) -> T {
        let Check::Whole(min, max) = self.row(flag).check else { panic!("--{flag} is no whole number") };
        self.value(flag, |text| {
            let number = text.parse().ok().filter(|number| (min..=max).contains(number));
            let number = number.and_then(|number| T::try_from(number).ok());
            number.ok_or_else(|| format!("\"{}\" must be a whole number from {min} to {max}", text.escape_debug()))
        })
    }

    pub(super) fn seconds(&mut self, flag: &str) -> Duration {
        let Check::Seconds(min) = self.row(flag).check else { panic!("--{flag} is no time") };
        self.value(flag, |text| seconds(text, 1.0, min))
    }

    pub(super) fn switch(&mut self, flag: &str) -> bool {
        self.value(flag, |text| match text {
            "1" | "true" => Ok(true),
            "0" | "false" => Ok(false),
            _ => Err(format!("\"{}\" must be 1 or 0", text.escape_debug())),
        })
    }
}

/// Reads a duration that is given in a unit of so many seconds.
pub(super) fn seconds(text: &str, unit_s: f64, min_s: f64) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(number) if number * unit_s >= min_s && number * unit_s <= DURATION_MAX_S => {
            Ok(Duration::from_secs_f64(number * unit_s))
        }
        _ => Err(format!(
            "\"{}\" must be a number from {} to {}, such as {}",
            text.escape_debug(),
            min_s / unit_s,
            DURATION_MAX_S / unit_s,
            1.5 / unit_s
        )),
    }
}
