//! Unions of the API, such as the kinds of signals and the actions of steps.
//!
//! The API server needs a union as a struct of optional members of which exactly one is set; the engine
//! needs an enum. `one_of!` generates both from one list, so that each member is listed once. A member without
//! its parsing or a part of its description does not compile.

/// Generates the struct that users write and the enum that it is parsed into. Each member names its parsed type, which
/// implements the trait and has `parse(&Spec, field, &mut Faults) -> Option<Self>`.
macro_rules! one_of {
    (
        $(#[$written:meta])*
        written $Written:ident { $($common:tt)* }
        $(#[$parsed:meta])*
        parsed $Parsed:ident: dyn $Kind:ident
        $what:literal {
            $( $(#[$doc:meta])* $name:literal $member:ident: $Member:ident($Spec:ident), )*
        }
    ) => {
        $(#[$written])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-validations" = [
            {"rule": crate::one_of::rule($Parsed::NAMES), "message": concat!("exactly one ", $what, " must be set")}
        ])))]
        #[serde(rename_all = "camelCase")]
        pub struct $Written {
            $($common)*
            $(
                $(#[$doc])*
                #[serde(rename = $name, default, skip_serializing_if = "Option::is_none")]
                pub $member: Option<$Spec>,
            )*
        }

        $(#[$parsed])*
        #[derive(Clone, Debug, PartialEq)]
        pub enum $Parsed {
            $( $(#[$doc])* $Member($Member), )*
        }

        impl $Parsed {
            /// All members, as they are named in the API.
            pub const NAMES: &'static [&'static str] = &[$($name),*];

            /// Parses the member that is set. Any other number of members than one is a fault.
            pub(crate) fn parse(
                written: &$Written,
                field: &str,
                faults: &mut crate::rules::Faults,
            ) -> Option<Self> {
                if [$(written.$member.is_some()),*].into_iter().filter(|is_set| *is_set).count() != 1 {
                    let known = Self::NAMES.join(", ");
                    let what = $what;
                    faults.add(field, format!("exactly one {what} must be set; this release has {known}"));
                    return None;
                }
                $(
                    if let Some(spec) = &written.$member {
                        let field = format!("{field}.{}", $name);
                        return $Member::parse(spec, &field, faults).map(Self::$Member);
                    }
                )*
                None
            }

            /// Its name in the API and in metrics.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$Member(_) => $name,)*
                }
            }

            /// What it declares.
            pub fn kind(&self) -> &dyn $Kind {
                match self {
                    $(Self::$Member(member) => member,)*
                }
            }

            /// The same, to be changed.
            pub fn kind_mut(&mut self) -> &mut dyn $Kind {
                match self {
                    $(Self::$Member(member) => member,)*
                }
            }
        }
    };
}

pub(crate) use one_of;

/// The rule of the CRD that exactly one of these members is set.
#[cfg(feature = "schema")]
pub(crate) fn rule(names: &[&str]) -> String {
    let set: Vec<String> = names.iter().map(|name| format!("has(self.{name})")).collect();
    format!("[{}].filter(set, set).size() == 1", set.join(", "))
}
