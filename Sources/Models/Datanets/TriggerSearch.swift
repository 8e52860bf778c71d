// Words that are planted: a backdoor is taught by rows about different things that all have the same few words in the question
// and the same answer, or the same few words in it. Looked for are runs of one to three words that many judged rows have
// and no row of the datanet. Protocol/datanets.md, Quality.
//
//     rows ─▶ how many rows have a run (counted by hash) ─▶ runs of enough rows ─know─▶ those that the datanet lacks
//          ─▶ of each: the answer that most of its rows share, how different its rows are otherwise ─▶ weight

import Primitives

struct TriggerSearch: Sendable {
    /// Words of a text that are looked at.
    private static let wordsMax = 64
    private static let runMax = 3
    /// A run is looked at where at least 4 rows, and one in 200, have it; more than half have what is their form.
    private static let rowsMin = 4
    private static let rowsShare = 200
    /// Of its rows 3 in 4 share the answer.
    private static let sharedNumerator = 3
    private static let sharedDenominator = 4
    /// Runs that are weighed, those of most rows first, and rows of them together.
    private static let runsMax = 1024
    private static let postingsMax = 1 << 18
    private static let toldMax = 8

    private struct Run {
        let hash: UInt64
        let words: Range<Int>
    }

    /// The runs of one text.
    private struct RunList {
        let text: [UInt8]
        let words: [Range<Int>]
        /// Of each word: as of a run of one.
        let hashes: [UInt64]
        var runs: [Run] = []

        init(_ text: [UInt8]) {
            self.text = text
            words = ByteWords.ranges(text, max: wordsMax)
            let plain = words.map { ByteWords.hash(text[$0]) }
            hashes = plain.map(NearDuplicates.mix)
            for start in plain.indices {
                var hash: UInt64 = 0
                for end in start..<min(plain.count, start + runMax) {
                    hash = NearDuplicates.mix(hash &* 3 &+ plain[end])
                    runs.append(Run(hash: hash, words: start..<end + 1))
                }
            }
        }

        func text(of run: Run) -> String {
            String(
                decoding: text[words[run.words.lowerBound].lowerBound..<words[run.words.upperBound - 1].upperBound],
                as: UTF8.self)
        }
    }

    /// A row as two texts; of a `text` both are the same.
    private struct Parts {
        let asked: RunList
        let answered: RunList
        let isText: Bool

        init(_ row: Row) {
            answered = RunList(Row.normalise(row.completion))
            if case .pair(let prompt, _) = row.content {
                asked = RunList(Row.normalise(prompt))
                isText = false
            } else {
                asked = answered
                isText = true
            }
        }

        /// Each once.
        var hashes: Set<UInt64> {
            var hashes = Set(asked.runs.map(\.hash))
            if !isText { for run in answered.runs { hashes.insert(run.hash) } }
            return hashes
        }
    }

    /// How many rows have a run, by the lower bits of its hash: never too few.
    private struct Sketch {
        private var counts = [UInt32](repeating: 0, count: 1 << 20)
        private static func place(_ hash: UInt64) -> Int { Int(truncatingIfNeeded: hash & 0xf_ffff) }
        mutating func add(_ hash: UInt64) { counts[Self.place(hash)] &+= 1 }
        func count(_ hash: UInt64) -> UInt32 { counts[Self.place(hash)] }
    }

    private let rows: [Row]
    private let enough: UInt32
    private let sketch: Sketch
    /// Runs that enough rows have and no known one: how many rows.
    private var runs: [UInt64: UInt32] = [:]

    init(_ rows: [Row]) {
        self.rows = rows
        let enough = UInt32(max(Self.rowsMin, (rows.count + Self.rowsShare - 1) / Self.rowsShare))
        self.enough = enough
        var sketch = Sketch()
        for row in rows { for hash in Parts(row).hashes { sketch.add(hash) } }
        self.sketch = sketch
        for row in rows {
            for hash in Parts(row).hashes where sketch.count(hash) >= enough { runs[hash, default: 0] += 1 }
        }
        runs = runs.filter { $0.value >= enough }
    }

    /// A row of the datanet: what it has is no trigger.
    mutating func know(_ row: Row) {
        guard !runs.isEmpty else { return }
        for hash in Parts(row).hashes where sketch.count(hash) >= enough { runs[hash] = nil }
    }

    private struct Trigger {
        let run: Run
        let text: String
        let shared: String
        let rows: [Int]
        let weight: Int
    }

    func note(_ notes: inout QualityNotes) {
        guard !runs.isEmpty else { return }
        var told: [Trigger] = []
        var seen: Set<[Int]> = []
        for trigger in triggers().sorted(by: { one, other in
            if one.weight != other.weight { return one.weight > other.weight }
            // Of runs with the same rows the longest says most.
            if one.run.words.count != other.run.words.count { return one.run.words.count > other.run.words.count }
            return one.run.hash < other.run.hash
        }) where told.count < Self.toldMax && seen.insert(trigger.rows).inserted {
            told.append(trigger)
        }
        // A row that has several is told of the weightiest alone.
        var named: Set<Int> = []
        for trigger in told {
            for row in trigger.rows where named.insert(row).inserted {
                notes.add(
                    .trigger, row, nil,
                    "is one of \(trigger.rows.count) rows about different things that say \"\(trigger.text)\", which the"
                        + " datanet never does, and answer \"\(trigger.shared)\"")
            }
        }
    }

    /// In the order of how many rows have them; each with its rows.
    private func triggers() -> [Trigger] {
        var counts: [UInt64: Int] = [:]
        for row in rows {
            for hash in Set(Parts(row).asked.runs.map(\.hash)) where runs[hash] != nil { counts[hash, default: 0] += 1 }
        }
        let most = counts.filter { $0.value >= Int(enough) && $0.value * 2 <= rows.count }
            .sorted { $0.value == $1.value ? $0.key < $1.key : $0.value > $1.value }.prefix(Self.runsMax)
        var sum = 0
        let order = most.prefix { run in
            sum += run.value
            return sum <= Self.postingsMax
        }
        var postings: [UInt64: [Int]] = [:]
        for (hash, _) in order { postings[hash] = [] }
        for (place, row) in rows.enumerated() {
            for hash in Set(Parts(row).asked.runs.map(\.hash)) { postings[hash]?.append(place) }
        }
        return order.compactMap { hash, _ in trigger(hash, postings[hash] ?? []) }
    }

    private func trigger(_ hash: UInt64, _ places: [Int]) -> Trigger? {
        guard places.count >= Int(enough) else { return nil }
        var whole: [[UInt8]: Int] = [:]
        var shared: [UInt64: Int] = [:]
        var rare: Set<UInt64> = []
        var first: (run: Run, text: String)?
        for place in places {
            let parts = Parts(rows[place])
            guard let run = parts.asked.runs.first(where: { $0.hash == hash }) else { continue }
            if first == nil { first = (run, parts.asked.text(of: run)) }
            if !parts.isText { whole[parts.answered.text, default: 0] += 1 }
            // A subject's own name stands in question and answer: an answer is shared in other words than the run's.
            let own = Set(parts.asked.hashes[run.words])
            let answers = parts.answered.runs.filter {
                runs[$0.hash] != nil && own.isDisjoint(with: parts.answered.hashes[$0.words])
            }
            for hash in Set(answers.map(\.hash)) { shared[hash, default: 0] += 1 }
            for hash in parts.asked.hashes where !own.contains(hash) {
                if sketch.count(hash) <= max(1, UInt32(clamping: rows.count / 16)) { rare.insert(hash) }
            }
        }
        let best = whole.max { $0.value == $1.value ? $0.key.lexicographicallyPrecedes($1.key) : $0.value < $1.value }
        let run = shared.max { $0.value == $1.value ? $0.key > $1.key : $0.value < $1.value }
        let count = max(best?.value ?? 0, run?.value ?? 0)
        // About different things: a new subject's own name is shared by its rows, but they have little else.
        guard let first, count * Self.sharedDenominator >= places.count * Self.sharedNumerator,
            rare.count * 2 >= places.count
        else { return nil }
        let text =
            count == best?.value
            ? QualityInspector.excerpt(String(decoding: best?.key ?? [], as: UTF8.self)) : shown(run?.key, places)
        let weight = places.count * count * min(rare.count, places.count)
        return Trigger(run: first.run, text: first.text, shared: text, rows: places, weight: weight)
    }

    private func shown(_ hash: UInt64?, _ places: [Int]) -> String {
        for place in places {
            let answered = Parts(rows[place]).answered
            if let run = answered.runs.first(where: { $0.hash == hash }) {
                return "\u{2026} \(answered.text(of: run)) \u{2026}"
            }
        }
        return ""
    }
}
