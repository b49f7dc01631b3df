//! Who a client is: credentials against a configuration without accounts.
//!
//! An [`Authenticator`] compares plain secrets on the spot. A bcrypt secret takes a tenth of a
//! second, which would stall a shard: for those it hands out a [`HashJob`], to be run on another
//! thread. A reload checks clients [again](Authenticator::recheck). It knows neither connections nor
//! timers; when a client must show its credentials is the session's business.
//!
//! Invariant: a secret is compared in a time that says nothing of what it is, and printed nowhere.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use subtle::ConstantTimeEq;

use crate::ids::AccountId;

/// How clients authenticate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthConfig {
    /// What they must show.
    pub method: AuthMethod,
    /// The user that a client without any credentials becomes: one of [`AuthMethod::Users`], with
    /// a plain password. It has no effect with the other methods.
    pub no_auth_user: Option<String>,
    /// A client that sends CONNECT without any credentials is nobody in particular, in the account of
    /// everybody: all users of the configuration are the system account's.
    pub lets_anonymous_in: bool,
    /// How long a client may take to show its credentials.
    pub timeout: Duration,
}

/// What clients must show.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum AuthMethod {
    /// Nothing.
    #[default]
    None,
    /// The name and password of the only user. With an empty name: nothing.
    User(User),
    /// A token, plain or as a bcrypt hash. When that is empty: nothing.
    Token(String),
    /// The name and password of one of several users. When there are none: nothing.
    Users(Vec<User>),
}

/// A user of the configuration.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// Compared letter by letter.
    pub name: String,
    /// Plain, or a bcrypt hash. When empty, the client must not send another one.
    pub password: String,
    /// The account that it belongs to.
    pub account: AccountId,
}

/// What a client sent in its CONNECT. An empty text is as good as none.
#[derive(Clone, Copy, Default)]
pub struct Credentials<'a> {
    /// `user`
    pub user: Option<&'a str>,
    /// `pass`
    pub pass: Option<&'a str>,
    /// `auth_token`
    pub token: Option<&'a str>,
}

/// Who a client turned out to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The user of the configuration; none where it has none, or only a token.
    pub user: Option<Box<str>>,
    /// The account that it belongs to.
    pub account: AccountId,
}

/// Credentials that are kept, so that they can be checked again.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Login {
    /// `user`
    pub user: Option<Box<str>>,
    /// `pass`
    pub pass: Option<Box<str>>,
    /// `auth_token`
    pub token: Option<Box<str>>,
}

/// What the credentials of a client came to.
#[derive(Debug)]
pub enum Verdict {
    /// The client may go on.
    Accepted(Identity),
    /// It may not.
    Rejected,
    /// That remains to be computed, which takes about 100 ms: not on a shard.
    Hash(HashJob),
}

/// What becomes of a client that an earlier configuration admitted.
#[derive(Debug)]
pub enum Standing {
    /// What was asked of it is asked of it still.
    Unchanged,
    /// Its credentials are right.
    Stays(Identity),
    /// There is no such user any more in its account; it may find another place.
    Moved,
    /// Its credentials are wrong.
    Wrong,
    /// That remains to be computed, as for a [`Verdict`].
    Hash(HashJob),
}

/// A bcrypt secret to compare.
#[derive(Clone)]
pub struct HashJob {
    hash: Arc<str>,
    secret: Box<str>,
    identity: Identity,
}

/// Checks credentials.
pub struct Authenticator {
    rule: Rule,
    /// Who a client without credentials is.
    anonymous: Option<Anonymous>,
    timeout: Duration,
}

impl Authenticator {
    /// Takes the configuration as it is: that names are unique and `no_auth_user` exists was
    /// checked when it was read.
    #[must_use]
    pub fn new(config: AuthConfig) -> Self {
        let rule = Rule::new(config.method);
        let anonymous = match (&rule, config.no_auth_user) {
            (Rule::Users(_), Some(name)) => Some(Anonymous::User(name.into())),
            (Rule::Users(_), None) if config.lets_anonymous_in => Some(Anonymous::Global),
            (Rule::None | Rule::User(..) | Rule::Token(_), _) | (_, None) => None,
        };
        Self { rule, anonymous, timeout: config.timeout }
    }

    /// Whether clients are checked at all. If so, one that says nothing for
    /// [`timeout`](Self::timeout) is refused.
    #[must_use]
    pub fn required(&self) -> bool {
        !matches!(self.rule, Rule::None)
    }

    /// Whether a client must begin with a CONNECT, and is told so (`auth_required` of INFO). If
    /// not, one that begins otherwise is to be checked with no credentials.
    #[must_use]
    pub fn connect_required(&self) -> bool {
        self.required() && matches!(self.anonymous, None | Some(Anonymous::Global))
    }

    /// How long a client may take to show its credentials.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// What becomes of a client that `earlier` admitted into `account` with these credentials.
    ///
    /// As with nats-server, whoever has named a user stays only as one of [`AuthMethod::Users`], or as the
    /// one that is left of them; but nobody has to go because of a reload that changed nothing about log-ins.
    #[must_use]
    pub fn recheck(
        &self,
        earlier: &Self,
        credentials: &Credentials<'_>,
        account: AccountId,
    ) -> Standing {
        let credentials = match &earlier.anonymous {
            Some(Anonymous::User(name)) if credentials.is_empty() => earlier.credentials_of(name),
            Some(Anonymous::Global) if credentials.is_empty() => {
                let same = matches!(self.anonymous, Some(Anonymous::Global));
                return if same { Standing::Unchanged } else { Standing::Moved };
            }
            Some(Anonymous::User(_) | Anonymous::Global) | None => *credentials,
        };
        let name = credentials.user.unwrap_or_default();
        if self.rule.asks_the_same(&earlier.rule, name) {
            return Standing::Unchanged;
        }
        let is_only_user = matches!((&self.rule, &earlier.rule), (Rule::User(..), Rule::Users(_)));
        if !name.is_empty() && !is_only_user && !self.rule.has_user(name, account) {
            return Standing::Moved;
        }
        match self.check(&credentials) {
            Verdict::Accepted(identity) if identity.account == account => Standing::Stays(identity),
            Verdict::Accepted(_) => Standing::Moved,
            Verdict::Rejected => Standing::Wrong,
            Verdict::Hash(job) => Standing::Hash(job),
        }
    }

    /// What a client shows that is a user without having said so: the password as it stands in the
    /// configuration.
    fn credentials_of<'a>(&'a self, name: &'a str) -> Credentials<'a> {
        let pass = match self.rule.user(name) {
            Some((Secret::Plain(password), _)) => Some(&**password),
            Some((Secret::Bcrypt(_), _)) | None => None,
        };
        Credentials { user: Some(name), pass, token: None }
    }

    /// Who the client with these credentials is.
    #[must_use]
    pub fn check(&self, credentials: &Credentials<'_>) -> Verdict {
        let name = credentials.user.unwrap_or_default();
        let password = credentials.pass.unwrap_or_default();
        if let Some(anonymous) = &self.anonymous
            && credentials.is_empty()
        {
            return self.admit(anonymous);
        }
        match &self.rule {
            Rule::None => Verdict::Accepted(Identity::default()),
            Rule::User(only, secret) if **only == *name => {
                secret.check(password, Identity::of(only, AccountId::GLOBAL))
            }
            Rule::User(..) => Verdict::Rejected,
            Rule::Token(secret) => {
                secret.check(credentials.token.unwrap_or_default(), Identity::default())
            }
            Rule::Users(users) => match users.get_key_value(name) {
                Some((name, (secret, account))) => {
                    secret.check(password, Identity::of(name, *account))
                }
                None => Verdict::Rejected,
            },
        }
    }

    /// nats-server gives a client without credentials the password as it stands in the
    /// configuration, so that a hash never fits. Letting strangers in where it does not would be a
    /// surprise.
    fn admit(&self, anonymous: &Anonymous) -> Verdict {
        match anonymous {
            Anonymous::Global => Verdict::Accepted(Identity::default()),
            Anonymous::User(name) => match self.rule.user(name) {
                Some((Secret::Plain(_), account)) => {
                    Verdict::Accepted(Identity::of(name, *account))
                }
                Some((Secret::Bcrypt(_), _)) | None => Verdict::Rejected,
            },
        }
    }
}

impl Login {
    /// These credentials, if there are any.
    #[must_use]
    pub fn new(
        user: Option<Box<str>>,
        pass: Option<Box<str>>,
        token: Option<Box<str>>,
    ) -> Option<Box<Self>> {
        let login = Self { user, pass, token };
        (!login.credentials().is_empty()).then(|| Box::new(login))
    }

    /// What they are.
    #[must_use]
    pub fn credentials(&self) -> Credentials<'_> {
        Credentials {
            user: self.user.as_deref(),
            pass: self.pass.as_deref(),
            token: self.token.as_deref(),
        }
    }
}

impl Credentials<'_> {
    /// The name to show for a client that is no user of the configuration.
    #[must_use]
    pub fn display_name(&self) -> Option<&str> {
        let user = self.user.filter(|user| !user.is_empty());
        user.or_else(|| self.token.filter(|token| !token.is_empty()).map(|_| "[REDACTED]"))
    }

    fn is_empty(&self) -> bool {
        [self.user, self.pass, self.token].iter().flatten().all(|text| text.is_empty())
    }
}

impl HashJob {
    /// Whether another job has the same hash and the same secret, and so the same outcome.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let (own, theirs) = (self.secret.as_bytes(), other.secret.as_bytes());
        self.hash == other.hash && own.ct_eq(theirs).into()
    }

    /// Computes the hash, for about 100 ms, and says whether the secret is right; never, when the
    /// configured hash is none.
    #[must_use]
    pub fn is_right(&self) -> bool {
        bcrypt::verify(self.secret.as_bytes(), &self.hash).unwrap_or(false)
    }

    /// Who the client is whose secret was right.
    #[must_use]
    pub fn into_identity(self) -> Identity {
        self.identity
    }
}

impl Identity {
    fn of(user: &str, account: AccountId) -> Self {
        Self { user: Some(user.into()), account }
    }
}

impl fmt::Debug for AuthMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::User(user) => f.debug_tuple("User").field(user).finish(),
            Self::Token(_) => f.write_str("Token"),
            Self::Users(users) => f.debug_tuple("Users").field(users).finish(),
        }
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("name", &self.name).finish_non_exhaustive()
    }
}

impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.credentials().fmt(f)
    }
}

impl fmt::Debug for HashJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HashJob").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator").field("required", &self.required()).finish_non_exhaustive()
    }
}

/// The method, with what asks for nothing taken as [`AuthMethod::None`].
enum Rule {
    None,
    User(Box<str>, Secret),
    Token(Secret),
    Users(BTreeMap<Box<str>, (Secret, AccountId)>),
}

impl Rule {
    fn new(method: AuthMethod) -> Self {
        match method {
            AuthMethod::User(user) if !user.name.is_empty() => {
                Self::User(user.name.into(), Secret::new(&user.password))
            }
            AuthMethod::Token(token) if !token.is_empty() => Self::Token(Secret::new(&token)),
            AuthMethod::Users(users) if !users.is_empty() => {
                let entry =
                    |user: User| (user.name.into(), (Secret::new(&user.password), user.account));
                Self::Users(users.into_iter().map(entry).collect())
            }
            AuthMethod::None
            | AuthMethod::User(_)
            | AuthMethod::Token(_)
            | AuthMethod::Users(_) => Self::None,
        }
    }

    /// One of several users.
    fn user(&self, name: &str) -> Option<&(Secret, AccountId)> {
        match self {
            Self::Users(users) => users.get(name),
            Self::None | Self::User(..) | Self::Token(_) => None,
        }
    }

    fn has_user(&self, name: &str, account: AccountId) -> bool {
        self.user(name).is_some_and(|(_, own)| *own == account)
    }

    /// Whether a client that names this user has to show what it had to show before.
    fn asks_the_same(&self, earlier: &Self, name: &str) -> bool {
        match (self, earlier) {
            (Self::None, Self::None) => true,
            (Self::User(only, secret), Self::User(before, earlier)) => {
                only == before && secret.is_same(earlier)
            }
            (Self::Token(secret), Self::Token(earlier)) => secret.is_same(earlier),
            (Self::Users(_), Self::Users(_)) => match (self.user(name), earlier.user(name)) {
                (Some((secret, account)), Some((earlier, before))) => {
                    secret.is_same(earlier) && account == before
                }
                (Some(_) | None, _) => false,
            },
            (Self::None | Self::User(..) | Self::Token(_) | Self::Users(_), _) => false,
        }
    }
}

/// Who a client without credentials is.
enum Anonymous {
    User(Box<str>),
    Global,
}

/// What a client must know.
enum Secret {
    Plain(Box<str>),
    Bcrypt(Arc<str>),
}

impl Secret {
    /// Whether both are written alike in the configuration.
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Plain(one), Self::Plain(other)) => one == other,
            (Self::Bcrypt(one), Self::Bcrypt(other)) => one == other,
            (Self::Plain(_) | Self::Bcrypt(_), _) => false,
        }
    }

    fn new(text: &str) -> Self {
        if is_bcrypt(text) { Self::Bcrypt(text.into()) } else { Self::Plain(text.into()) }
    }

    fn check(&self, secret: &str, identity: Identity) -> Verdict {
        match self {
            Self::Plain(expected) if expected.as_bytes().ct_eq(secret.as_bytes()).into() => {
                Verdict::Accepted(identity)
            }
            Self::Plain(_) => Verdict::Rejected,
            Self::Bcrypt(hash) => {
                Verdict::Hash(HashJob { hash: Arc::clone(hash), secret: secret.into(), identity })
            }
        }
    }
}

/// Whether a secret is given as a hash: `^\$2[abxy]\$\d{2}\$`.
#[must_use]
pub fn is_bcrypt(text: &str) -> bool {
    matches!(
        text.as_bytes(),
        [b'$', b'2', b'a' | b'b' | b'x' | b'y', b'$', b'0'..=b'9', b'0'..=b'9', b'$', ..]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO: Credentials<'_> = Credentials { user: None, pass: None, token: None };

    fn user(name: &str, password: &str) -> User {
        User { name: name.to_owned(), password: password.to_owned(), account: AccountId::GLOBAL }
    }

    fn authenticator(method: AuthMethod, no_auth_user: Option<&str>) -> Authenticator {
        let no_auth_user = no_auth_user.map(str::to_owned);
        Authenticator::new(AuthConfig {
            method,
            no_auth_user,
            lets_anonymous_in: false,
            timeout: Duration::from_secs(2),
        })
    }

    fn login<'a>(user: &'a str, pass: &'a str) -> Credentials<'a> {
        Credentials { user: Some(user), pass: Some(pass), token: None }
    }

    fn token(token: &str) -> Credentials<'_> {
        Credentials { token: Some(token), ..NO }
    }

    /// A cheap hash, so that the tests need no 100 ms each.
    fn hashed(secret: &str) -> String {
        bcrypt::hash(secret, 4).unwrap()
    }

    /// The identity that the credentials lead to, by a hash job where there is one.
    fn outcome(authenticator: &Authenticator, credentials: &Credentials<'_>) -> Option<Identity> {
        match authenticator.check(credentials) {
            Verdict::Accepted(identity) => Some(identity),
            Verdict::Rejected => None,
            Verdict::Hash(job) => job.is_right().then(|| job.into_identity()),
        }
    }

    #[track_caller]
    fn accepts(authenticator: &Authenticator, credentials: &Credentials<'_>, user: Option<&str>) {
        let expected = Identity { user: user.map(Into::into), account: AccountId::GLOBAL };
        assert_eq!(outcome(authenticator, credentials), Some(expected), "{credentials:?}");
    }

    #[track_caller]
    fn rejects(authenticator: &Authenticator, credentials: &Credentials<'_>) {
        assert_eq!(outcome(authenticator, credentials), None, "{credentials:?}");
    }

    #[test]
    fn without_a_method_everyone_is_accepted_whatever_they_send() {
        let methods = [
            AuthMethod::None,
            AuthMethod::User(user("", "x")),
            AuthMethod::Token(String::new()),
            AuthMethod::Users(Vec::new()),
        ];
        for method in methods {
            let open = authenticator(method, None);
            assert!(!open.required() && !open.connect_required());
            [NO, login("a", "b"), token("t")].iter().for_each(|sent| accepts(&open, sent, None));
        }
    }

    #[test]
    fn the_only_user_needs_its_name_and_password() {
        for password in ["s".to_owned(), hashed("s")] {
            let single = authenticator(AuthMethod::User(user("a", &password)), None);
            assert!(single.required() && single.connect_required());
            accepts(&single, &login("a", "s"), Some("a"));
            accepts(&single, &Credentials { token: Some("x"), ..login("a", "s") }, Some("a"));
            for wrong in [NO, login("a", ""), login("A", "s"), login("a", "s "), token("s")] {
                rejects(&single, &wrong);
            }
            rejects(&single, &login("a", &password.replace('s', "x")));
        }
    }

    #[test]
    fn a_hash_is_no_password() {
        let hash = hashed("s");
        let single = authenticator(AuthMethod::User(user("a", &hash)), None);
        rejects(&single, &login("a", &hash));
    }

    #[test]
    fn an_empty_password_wants_an_empty_password() {
        for method in [AuthMethod::User(user("a", "")), AuthMethod::Users(vec![user("a", "")])] {
            let empty = authenticator(method, None);
            accepts(&empty, &login("a", ""), Some("a"));
            accepts(&empty, &Credentials { user: Some("a"), ..NO }, Some("a"));
            rejects(&empty, &login("a", "x"));
            rejects(&empty, &NO);
        }
    }

    #[test]
    fn a_token_is_taken_only_as_a_token() {
        for secret in ["t".to_owned(), hashed("t")] {
            let by_token = authenticator(AuthMethod::Token(secret), None);
            accepts(&by_token, &token("t"), None);
            accepts(&by_token, &Credentials { token: Some("t"), ..login("zzz", "k") }, None);
            for wrong in
                [NO, token(""), token("T"), login("t", "t"), login("t", ""), login("", "t")]
            {
                rejects(&by_token, &wrong);
            }
        }
    }

    #[test]
    fn one_of_several_users_is_found_by_its_exact_name() {
        let users = vec![user("a", "s"), user("b", &hashed("s")), user("c", "")];
        let several = authenticator(AuthMethod::Users(users), None);
        accepts(&several, &login("a", "s"), Some("a"));
        accepts(&several, &login("b", "s"), Some("b"));
        accepts(&several, &login("c", ""), Some("c"));
        let wrong =
            [NO, login("a", "x"), login("b", "x"), login("b", ""), login("B", "s"), login("", "s")];
        wrong.iter().for_each(|wrong| rejects(&several, wrong));
        rejects(&several, &token("s"));
    }

    #[test]
    fn every_bcrypt_prefix_is_a_hash_and_only_the_first_72_bytes_count() {
        let hash = hashed("s");
        for prefix in ["$2a", "$2b", "$2x", "$2y"] {
            let hash = hash.replacen("$2b", prefix, 1);
            let single = authenticator(AuthMethod::User(user("a", &hash)), None);
            assert!(matches!(single.check(&login("a", "s")), Verdict::Hash(_)), "{prefix}");
            accepts(&single, &login("a", "s"), Some("a"));
        }
        let long = authenticator(AuthMethod::User(user("a", &hashed(&"s".repeat(80)))), None);
        accepts(&long, &login("a", &"s".repeat(72)), Some("a"));
        rejects(&long, &login("a", &"s".repeat(71)));
    }

    #[test]
    fn what_only_begins_like_a_hash_fits_nothing() {
        for junk in ["$2a$04$", "$2a$04$zz", "$2b$99$zz", "$2a$00$zz"] {
            assert!(is_bcrypt(junk));
            let single = authenticator(AuthMethod::User(user("a", junk)), None);
            rejects(&single, &login("a", junk));
        }
        for plain in ["x$2a$04$zz", "$2c$04$zz", "$2a$4$zz", "$2a$04", "$2a$0x$"] {
            assert!(!is_bcrypt(plain));
            let single = authenticator(AuthMethod::User(user("a", plain)), None);
            accepts(&single, &login("a", plain), Some("a"));
        }
    }

    #[test]
    fn who_sends_nothing_is_the_no_auth_user() {
        let users = vec![user("a", "s"), user("b", &hashed("s"))];
        let open = authenticator(AuthMethod::Users(users.clone()), Some("a"));
        assert!(open.required() && !open.connect_required());
        accepts(&open, &NO, Some("a"));
        accepts(&open, &Credentials { token: Some(""), ..login("", "") }, Some("a"));
        accepts(&open, &login("b", "s"), Some("b"));
        for wrong in [login("a", ""), login("x", ""), login("", "x"), token("x"), login("b", "x")] {
            rejects(&open, &wrong);
        }
        let hashed = authenticator(AuthMethod::Users(users), Some("b"));
        assert!(!hashed.connect_required());
        assert!(matches!(hashed.check(&NO), Verdict::Rejected), "a hash is no password");
    }

    /// What becomes of a client with these credentials, which was in the account of everybody,
    /// in one word.
    fn standing(
        [before, after]: [(AuthMethod, Option<&str>); 2],
        sent: &Credentials<'_>,
    ) -> &'static str {
        let [before, after] = [before, after].map(|(method, name)| authenticator(method, name));
        match after.recheck(&before, sent, AccountId::GLOBAL) {
            Standing::Unchanged => "unchanged",
            Standing::Stays(_) => "stays",
            Standing::Moved => "moved",
            Standing::Wrong => "wrong",
            Standing::Hash(job) if job.is_right() => "stays by hash",
            Standing::Hash(_) => "wrong by hash",
        }
    }

    /// The table is that of nats-server, but for what is unchanged.
    #[test]
    fn a_reload_keeps_who_still_has_the_right_credentials() {
        let none = || AuthMethod::None;
        let one = |password: &str| AuthMethod::User(user("a", password));
        let by_token = |token: &str| AuthMethod::Token(token.to_owned());
        let users = |password: &str| AuthMethod::Users(vec![user("a", password), user("b", "s")]);
        let elsewhere = || {
            let account = AccountId::SYSTEM;
            AuthMethod::Users(vec![User { account, ..user("a", "s") }])
        };
        let (hash, other) = (hashed("s"), hashed("x"));
        let (a, t) = (login("a", "s"), token("s"));
        let cases = [
            (none(), none(), a, "unchanged"),
            (one("s"), one("s"), a, "unchanged"),
            (by_token(&hash), by_token(&hash), t, "unchanged"),
            (users(&hash), users(&hash), a, "unchanged"),
            (none(), users("s"), a, "stays"),
            (one("s"), users("s"), a, "stays"),
            (users(&hash), users("s"), a, "stays"),
            (users("s"), users(&hash), a, "stays by hash"),
            (users("s"), users(&other), a, "wrong by hash"),
            (users("s"), users("x"), a, "wrong"),
            (none(), users("x"), a, "wrong"),
            (none(), by_token("s"), t, "stays"),
            (by_token("s"), none(), t, "stays"),
            (by_token("s"), by_token(&hash), t, "stays by hash"),
            (by_token(&hash), by_token("s"), t, "stays"),
            (by_token("s"), by_token("x"), t, "wrong"),
            (by_token("s"), users("s"), t, "wrong"),
            (none(), users("s"), NO, "wrong"),
            (none(), one("s"), NO, "wrong"),
            (none(), one("s"), a, "moved"),
            (one("s"), one(&hash), a, "moved"),
            (one("s"), by_token("s"), a, "moved"),
            (one("s"), none(), a, "moved"),
            (users("s"), none(), a, "moved"),
            (users("s"), users("s"), login("gone", "s"), "moved"),
            (users("s"), elsewhere(), a, "moved"),
            (none(), elsewhere(), a, "moved"),
        ];
        for (number, (before, after, sent, expected)) in cases.into_iter().enumerate() {
            let found = standing([(before, None), (after, None)], &sent);
            assert_eq!(found, expected, "case {number}, {sent:?}");
        }
    }

    #[test]
    fn a_reload_takes_a_client_without_credentials_for_the_user_that_it_is() {
        let users = |password: &str| AuthMethod::Users(vec![user("a", password)]);
        let hash = hashed("s");
        let cases = [
            (users("s"), users("s"), "unchanged"),
            (users("s"), users(&hash), "stays by hash"),
            (users("s"), users("x"), "wrong"),
            (users("s"), AuthMethod::Users(vec![user("b", "s")]), "moved"),
            (users("s"), AuthMethod::None, "moved"),
        ];
        for (number, (before, after, expected)) in cases.into_iter().enumerate() {
            let found = standing([(before, Some("a")), (after, Some("a"))], &NO);
            assert_eq!(found, expected, "case {number}");
        }
    }

    #[test]
    fn a_secret_is_printed_nowhere() {
        let config = AuthConfig {
            method: AuthMethod::Users(vec![user("a", "secret"), user("b", "$2a$04$secret")]),
            no_auth_user: None,
            lets_anonymous_in: false,
            timeout: Duration::ZERO,
        };
        let sent = login("b", "secret");
        let printed = format!("{config:?} {sent:?} {:?}", AuthMethod::Token("secret".to_owned()));
        let made = Authenticator::new(config);
        let printed = format!("{printed} {:?} {made:?}", made.check(&sent));
        assert!(!printed.contains("secret"), "{printed}");
    }

    #[test]
    fn a_token_is_not_a_name_to_show() {
        assert_eq!(token("t").display_name(), Some("[REDACTED]"));
        assert_eq!(Credentials { token: Some("t"), ..login("u", "") }.display_name(), Some("u"));
        assert_eq!(login("", "x").display_name(), None);
    }
}
