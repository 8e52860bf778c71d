// The string formats that a schema may name, as patterns: RFC 3339 dates (only days that exist) and times, RFC 4122
// UUIDs, RFC 5321-like addresses, RFC 1123 host names, IPv4 and IPv6, ISO 8601 durations as in RFC 3339 appendix A.

enum StringFormats {
    private static let year = "(?:000[1-9]|00[1-9]\\d|0[1-9]\\d\\d|[1-9]\\d\\d\\d)"
    private static let leapYear =
        "(?:\\d\\d(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
    private static let date =
        "(?:\(year)-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)"
        + "|02-(?:0[1-9]|1\\d|2[0-8]))|\(leapYear)-02-29)"
    private static let time =
        "(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d{1,6})?(?:Z|[+-](?:[01]\\d|2[0-3]):[0-5]\\d)"
    private static let label = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
    private static let octet = "(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)"
    private static let hour = "\\d{1,9}H(?:\\d{1,9}M(?:\\d{1,9}S)?)?|\\d{1,9}M(?:\\d{1,9}S)?|\\d{1,9}S"
    private static let day = "\\d{1,9}Y(?:\\d{1,9}M(?:\\d{1,9}D)?)?|\\d{1,9}M(?:\\d{1,9}D)?|\\d{1,9}D"

    private static var ipv6: String {
        let group = "[0-9A-Fa-f]{1,4}"
        var forms = ["(?:\(group):){7}\(group)", "(?:\(group):){1,7}:"]
        for left in 1...6 { forms.append("(?:\(group):){1,\(left)}(?::\(group)){1,\(7 - left)}") }
        forms.append(":(?:(?::\(group)){1,7}|:)")
        return "(?:\(forms.joined(separator: "|")))"
    }

    static let names = ["date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uuid"]

    /// The expression of a format, whole text; nil where it is not one of `names`.
    static func expression(_ name: String) -> String? {
        switch name {
        case "date": "^\(date)$"
        case "time": "^\(time)$"
        case "date-time": "^\(date)T\(time)$"
        case "duration": "^P(?:\\d{1,9}W|(?:\(day))(?:T(?:\(hour)))?|T(?:\(hour)))$"
        case "uuid": "^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$"
        case "email":
            "^[A-Za-z0-9_+-]+(?:\\.[A-Za-z0-9_+-]+)*@\(label)(?:\\.\(label))+$"
        case "hostname": "^\(label)(?:\\.\(label))*$"
        case "ipv4": "^\(octet)(?:\\.\(octet)){3}$"
        case "ipv6": "^\(ipv6)$"
        default: nil
        }
    }
}
