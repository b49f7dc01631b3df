use super::*;

#[test]
fn a_literal_filter_gets_its_own_subject_only() {
    let mut list = Sublist::new(1);
    list.insert(b"foo.bar", None, Member { id: 7, weight: 1 });
    assert_eq!(list.matches(b"foo.bar").plain, [Member { id: 7, weight: 1 }]);
    assert!(list.matches(b"foo.baz").is_empty());
}
