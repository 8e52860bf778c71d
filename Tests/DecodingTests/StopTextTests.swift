import Primitives
import Testing

@testable import Decoding

@Suite struct StopTextTests {
    /// Shown text and verdict of a text cut into pieces.
    private func run(_ stops: [String], _ pieces: [String]) -> (String, Bool) {
        var stop = StopText(stops), shown = ""
        for piece in pieces {
            let (text, stopped) = stop.add(piece)
            shown += text
            if stopped { return (shown, true) }
        }
        return (shown + stop.finish(), false)
    }

    /// By trying every place: the stop string that ends first, the longest of those.
    private func expected(_ stops: [String], _ text: String) -> (String, Bool) {
        let bytes = Array(text.utf8)
        for end in 0...bytes.count {
            let found = stops.map { Array($0.utf8) }.filter { !$0.isEmpty && bytes[..<end].suffix($0.count) == $0[...] }
            if let longest = found.map(\.count).max() {
                return (String(decoding: bytes[..<(end - longest)], as: UTF8.self), true)
            }
        }
        return (text, false)
    }

    @Test func tokensDoNotChangeWhatStops() {
        var random = SeededRandom(seed: 3)
        for round in 0..<3000 {
            let letters = Array("aab\n€"),
                stops = (0..<1 + random.below(4)).map { _ in
                    String((0..<1 + random.below(4)).map { _ in letters[Int(random.below(5))] })
                }
            let text = (0..<random.below(24)).map { _ in letters[Int(random.below(5))] }
            var pieces: [String] = [], at = 0
            while at < text.count {
                let next = min(text.count, at + 1 + Int(random.below(4)))
                pieces.append(String(text[at..<next]))
                at = next
            }
            let want = expected(stops, String(text)), got = run(stops, pieces)
            #expect(got == want, "round \(round): \(stops) in \(pieces)")
        }
    }

    @Test func nothingIsHeldLongerThanItMayMatter() {
        var stop = StopText(["STOP"])
        #expect(stop.add("no S") == ("no ", false))
        #expect(stop.add("T") == ("", false))
        #expect(stop.add("x") == ("STx", false))
        #expect(stop.finish() == "")
        var none = StopText([])
        #expect(none.add("any") == ("any", false))
    }

    @Test func aMillionNearMissesAreRead() {
        var stop = StopText([String(repeating: "a", count: 255) + "b"])
        var shown = 0
        for _ in 0..<1000 { shown += stop.add(String(repeating: "a", count: 1000)).text.utf8.count }
        #expect(shown == 1_000_000 - 255)
    }

    /// A canary: the oracle tells a wrong answer from a right one.
    @Test func theOracleRefusesAWrongStop() {
        #expect(expected(["ab"], "xxab") == ("xx", true))
        #expect(run(["ab"], ["xxab"]) != expected(["b"], "xxab"))
    }
}
