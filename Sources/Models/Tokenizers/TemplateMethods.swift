// Python's methods of strings and objects, and dates.

import Primitives

extension TemplateInterpreter {
    static let stringMethods: Set<String> = [
        "capitalize", "count", "endswith", "find", "index", "isdigit", "isspace", "join", "lower", "lstrip",
        "removeprefix", "removesuffix", "replace", "rfind", "rsplit", "rstrip", "split", "splitlines", "startswith",
        "strip", "title", "upper",
    ]
    static let dictionaryMethods: Set<String> = ["get", "items", "keys", "values"]

    mutating func method(_ value: TemplateValue, _ name: String, _ given: CallValues) throws(TemplateFault)
        -> TemplateValue
    {
        switch value {
        case .string(let text): return try textMethod(text, name, given)
        case .dictionary(let dictionary):
            try charge(dictionary.members.count)
            switch name {
            case "get":
                guard case .string(let key)? = given.value(0, "key") else { return given.value(1, "default") ?? .none }
                return dictionary[key] ?? given.value(1, "default") ?? .none
            case "items":
                var pairs: [TemplateValue] = []
                for member in dictionary.members {
                    pairs.append(try list([.string(member.key), member.value], isTuple: true))
                }
                return try list(pairs)
            case "keys": return try list(dictionary.members.map { .string($0.key) })
            case "values": return try list(dictionary.members.map(\.value))
            default: break
            }
        case .list(let list) where name == "index" || name == "count":
            guard let wanted = given.positional.first else { break }
            var count = 0
            for (index, item) in list.items.enumerated() where try equals(item, wanted) {
                if name == "index" { return .integer(index) }
                count += 1
            }
            guard name == "count" else { throw fault("the list holds no such item") }
            return .integer(count)
        case .loop(let loop) where name == "cycle":
            guard !given.positional.isEmpty else { throw fault("loop.cycle needs items") }
            return given.positional[loop.index % given.positional.count]
        case .undefined(let reason): throw fault(reason)
        default: break
        }
        throw unsupported("method \"\(name.prefix(40))\" of a \(value.kind)")
    }

    private mutating func textMethod(_ text: [UInt8], _ name: String, _ given: CallValues) throws(TemplateFault)
        -> TemplateValue
    {
        func argument(_ place: Int = 0) throws(TemplateFault) -> [UInt8] {
            guard given.positional.indices.contains(place), case .string(let other) = given.positional[place] else {
                throw fault("\"\(name)\" needs a string")
            }
            return other
        }
        switch name {
        case "strip": return try strip(text, given.positional.first, left: true, right: true)
        case "lstrip": return try strip(text, given.positional.first, left: true, right: false)
        case "rstrip": return try strip(text, given.positional.first, left: false, right: true)
        case "upper", "lower", "capitalize": return try cased(text, name)
        case "title": return try cased(text, "pythonTitle")
        case "startswith", "endswith":
            guard given.positional.count == 1 else { throw unsupported("\"\(name)\" with a range") }
            var choices: [TemplateValue] = [given.positional[0]]
            if case .list(let list) = given.positional[0] { choices = list.items }
            for case .string(let other) in choices {
                let part = name == "startswith" ? text.prefix(other.count) : text.suffix(other.count)
                if part.elementsEqual(other) { return .bool(true) }
            }
            return .bool(false)
        case "removeprefix":
            let other = try argument()
            return try string(text.starts(with: other) ? Array(text.dropFirst(other.count)) : text)
        case "removesuffix":
            let other = try argument()
            let ends = !other.isEmpty && text.suffix(other.count).elementsEqual(other)
            return try string(ends ? Array(text.dropLast(other.count)) : text)
        case "replace":
            var most = Int.max
            if case .integer(let count)? = given.value(2, "count"), count >= 0 { most = count }
            return try replaced(text, try argument(0), try argument(1), most: most)
        case "split", "rsplit":
            var most = Int.max
            if case .integer(let count)? = given.value(1, "maxsplit"), count >= 0 { most = count }
            var separator: [UInt8]?
            if case .string(let other)? = given.value(0, "sep") { separator = other }
            return try split(text, separator, most: most, fromEnd: name == "rsplit")
        case "splitlines":
            guard given.positional.isEmpty else { throw unsupported("an argument of splitlines") }
            var lines: [TemplateValue] = [], line: [UInt8] = [], at = 0
            while at < text.count {
                let byte = text[at]
                at += 1
                guard byte == 0x0a || byte == 0x0d else {
                    line.append(byte)
                    continue
                }
                if byte == 0x0d, at < text.count, text[at] == 0x0a { at += 1 }
                lines.append(.string(line))
                line = []
            }
            if !line.isEmpty { lines.append(.string(line)) }
            return try list(lines)
        case "join":
            guard let first = given.positional.first else { throw fault("\"join\" needs a sequence") }
            return try filter(first, "join", CallValues(positional: [.string(text)]))
        case "find", "rfind", "index", "count":
            let other = try argument()
            var places: [Int] = [], at = 0
            while let place = try position(of: other, in: text, from: at) {
                places.append(place)
                at = place + max(other.count, 1)
                if name == "find" || name == "index" { break }
                try charge(1)
            }
            if name == "count" { return .integer(places.count) }
            guard let place = places.last else {
                guard name != "index" else { throw fault("the string does not hold that part") }
                return .integer(-1)
            }
            // Bytes to characters.
            return .integer(text[..<place].reduce(0) { $0 + ($1 & 0xc0 == 0x80 ? 0 : 1) })
        case "isdigit": return .bool(!text.isEmpty && text.allSatisfy { $0 >= 0x30 && $0 <= 0x39 })
        case "isspace":
            return .bool(
                !text.isEmpty && String(decoding: text, as: UTF8.self).unicodeScalars.allSatisfy(Self.isSpace))
        default: throw unsupported("method \"\(name.prefix(40))\" of a str")
        }
    }

    /// Python's white space holds four separators more than Unicode's.
    private static func isSpace(_ scalar: Unicode.Scalar) -> Bool {
        scalar.properties.isWhitespace || (scalar.value >= 0x1c && scalar.value <= 0x1f)
    }

    mutating func strip(_ text: [UInt8], _ characters: TemplateValue?, left: Bool, right: Bool) throws(TemplateFault)
        -> TemplateValue
    {
        var set: Set<Unicode.Scalar>?
        if case .string(let wanted)? = characters { set = Set(String(decoding: wanted, as: UTF8.self).unicodeScalars) }
        var scalars = Substring(String(decoding: text, as: UTF8.self)).unicodeScalars
        func drops(_ scalar: Unicode.Scalar) -> Bool { set?.contains(scalar) ?? Self.isSpace(scalar) }
        if left { while let first = scalars.first, drops(first) { scalars.removeFirst() } }
        if right { while let last = scalars.last, drops(last) { scalars.removeLast() } }
        return try string(Array(String(scalars).utf8))
    }

    /// "upper", "lower", "capitalize"; "title" as the filter has it, "pythonTitle" as the method does.
    mutating func cased(_ text: [UInt8], _ name: String) throws(TemplateFault) -> TemplateValue {
        var out = ""
        var startsWord = true
        for scalar in String(decoding: text, as: UTF8.self).unicodeScalars {
            let raises: Bool
            switch name {
            case "upper": raises = true
            case "lower": raises = false
            default: raises = startsWord
            }
            let mapped =
                raises && name != "upper"
                ? scalar.properties.titlecaseMapping
                : raises ? scalar.properties.uppercaseMapping : scalar.properties.lowercaseMapping
            out += mapped
            switch name {
            case "title": startsWord = " \t\n\r-([{<".unicodeScalars.contains(scalar)
            case "pythonTitle": startsWord = !scalar.properties.isCased
            default: startsWord = false
            }
        }
        return try string(Array(out.utf8))
    }

    mutating func replaced(_ text: [UInt8], _ from: [UInt8], _ to: [UInt8], most: Int) throws(TemplateFault)
        -> TemplateValue
    {
        guard !from.isEmpty else { throw unsupported("replacing the empty text") }
        var out: [UInt8] = [], behind = 0, count = 0
        while count < most, let place = try position(of: from, in: text, from: behind) {
            out += text[behind..<place]
            out += to
            behind = place + from.count
            count += 1
            if out.count > TemplateLimit.outputBytesMax { try chargeBytes(out.count) }
        }
        out += text[behind...]
        return try string(out)
    }

    private mutating func split(_ text: [UInt8], _ separator: [UInt8]?, most: Int, fromEnd: Bool)
        throws(TemplateFault) -> TemplateValue
    {
        guard let separator else {
            guard most == .max else { throw unsupported("split at white space with a limit") }
            let parts = String(decoding: text, as: UTF8.self).unicodeScalars.split(whereSeparator: Self.isSpace)
            return try list(parts.map { .text(String($0)) })
        }
        guard !separator.isEmpty else { throw fault("split needs a separator") }
        var places: [Int] = [], at = 0
        while places.count < (fromEnd ? .max : most), let place = try position(of: separator, in: text, from: at) {
            places.append(place)
            at = place + separator.count
            try charge(1)
        }
        if fromEnd, places.count > most { places.removeFirst(places.count - most) }
        var parts: [TemplateValue] = [], behind = 0
        for place in places {
            parts.append(try string(Array(text[behind..<place])))
            behind = place + separator.count
        }
        parts.append(try string(Array(text[behind...])))
        return try list(parts)
    }
}

/// `strftime` of an instant in UTC.
enum TemplateDate {
    private static let months = [
        "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
        "December",
    ]
    private static let days = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"]

    /// Nil for a directive that is not understood.
    static func format(_ time: WallTime, _ format: String) -> String? {
        guard format.utf8.count <= 256 else { return nil }
        let seconds = time.milliseconds.quotientFloor(1000)
        let day = Int(seconds.quotientFloor(86_400)), clock = Int(seconds - Int64(day) * 86_400)
        // Days since 0000-03-01 (Howard Hinnant, chrono-compatible low-level date algorithms).
        let shifted = day + 719_468, era = Int(Int64(shifted).quotientFloor(146_097)), inEra = shifted - era * 146_097
        let yearOfEra = (inEra - inEra / 1460 + inEra / 36_524 - inEra / 146_096) / 365
        let dayOfYear = inEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153, date = dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
        let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        func two(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
        var out = "", isDirective = false
        for character in format.unicodeScalars {
            guard isDirective else {
                if character == "%" { isDirective = true } else { out.unicodeScalars.append(character) }
                continue
            }
            isDirective = false
            switch character {
            case "Y": out += "\(year)"
            case "y": out += two(((year % 100) + 100) % 100)
            case "m": out += two(month)
            case "d": out += two(date)
            case "B": out += months[month - 1]
            case "b": out += String(months[month - 1].prefix(3))
            case "A": out += days[((day % 7) + 7) % 7]
            case "a": out += String(days[((day % 7) + 7) % 7].prefix(3))
            case "H": out += two(clock / 3600)
            case "M": out += two(clock / 60 % 60)
            case "S": out += two(clock % 60)
            case "F": out += "\(year)-\(two(month))-\(two(date))"
            case "T": out += "\(two(clock / 3600)):\(two(clock / 60 % 60)):\(two(clock % 60))"
            case "%": out += "%"
            default: return nil
            }
        }
        return isDirective ? nil : out
    }
}

extension Int64 {
    /// Division that rounds down. The divisor is positive.
    fileprivate func quotientFloor(_ divisor: Int64) -> Int64 {
        let quotient = self / divisor
        return self % divisor < 0 ? quotient - 1 : quotient
    }
}
