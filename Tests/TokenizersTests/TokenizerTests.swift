// Tokenizers against the `tokenizers` library: every id, every decoded text, every prefix of a stream.

import ModelFiles
import Primitives
import Testing

@testable import Tokenizers

@Suite struct TokenizerTests {
    @Test(arguments: TokenizerFixture.all) func encodesAsTheReference(fixture: TokenizerFixture) throws {
        let tokenizer = try fixture.tokenizer(), expected = try fixture.expected()
        #expect(tokenizer.vocabularyCount == expected["vocab_size"]?.integer)
        for item in expected["cases"]?.items ?? [] {
            let text = item["text"]?.text ?? ""
            let ids = tokenizer.encode(text, addSpecial: true), plain = tokenizer.encode(text, addSpecial: false)
            #expect(ids == int32s(item["ids"]), "\(text.debugDescription)")
            #expect(plain == int32s(item["ids_nospecial"]), "\(text.debugDescription)")
        }
    }

    @Test(arguments: TokenizerFixture.all) func decodesAsTheReference(fixture: TokenizerFixture) throws {
        let tokenizer = try fixture.tokenizer(), expected = try fixture.expected()
        for item in expected["cases"]?.items ?? [] {
            let ids = int32s(item["ids_nospecial"])
            #expect(same(tokenizer.decode(ids, skipSpecial: false), item["decoded"]?.text), "\(ids)")
            let skipped = tokenizer.decode(int32s(item["ids"]), skipSpecial: true)
            #expect(same(skipped, item["decoded_skip"]?.text), "\(ids)")
        }
        for item in expected["random_ids"]?.items ?? [] {
            let ids = int32s(item["ids"])
            #expect(same(tokenizer.decode(ids, skipSpecial: false), item["decoded"]?.text), "\(ids)")
        }
    }

    /// After every token, what has been shown is the reference's text without the character that is not whole yet.
    @Test(arguments: TokenizerFixture.all) func streamsThePrefixesOfTheReference(fixture: TokenizerFixture) throws {
        let tokenizer = try fixture.tokenizer(), expected = try fixture.expected()
        for item in expected["prefixes"]?.items ?? [] {
            let prefixes = item["prefixes"]?.items ?? []
            var decoder = StreamingDecoder(tokenizer, skipSpecial: false)
            var shown: [UInt8] = []
            for (index, token) in int32s(item["ids"]).enumerated() {
                let text = decoder.add(token)
                #expect(!text.unicodeScalars.contains("\u{fffd}"))
                shown += text.utf8
                // A run of byte tokens is only judged as a whole by the reference, which then shows less than we may.
                if tokenizer.decoder.readsByteTokens { continue }
                var reference = Substring(prefixes[index + 1].text ?? "").unicodeScalars
                while reference.last == "\u{fffd}" { reference.removeLast() }
                #expect(shown == Array(String(reference).utf8))
            }
            #expect(decoder.finish() == "")
            #expect(shown == Array((prefixes.last?.text ?? "").utf8))
        }
    }

    /// What a stream shows, joined, is the whole text; no chunk ends in half a character.
    @Test(arguments: TokenizerFixture.all) func chunksMakeTheWhole(fixture: TokenizerFixture) throws {
        let tokenizer = try fixture.tokenizer(), expected = try fixture.expected()
        var random = SeededRandom(seed: 7)
        var streams = (expected["cases"]?.items ?? []).map { int32s($0["ids"]) }
        for _ in 0..<400 {
            streams.append((0..<24).map { _ in Int32(random.below(UInt64(tokenizer.vocabularyCount + 3))) - 1 })
        }
        for ids in streams {
            for skipSpecial in [false, true] {
                var decoder = StreamingDecoder(tokenizer, skipSpecial: skipSpecial)
                var shown = ""
                for id in ids { shown += decoder.add(id) }
                shown += decoder.finish()
                let whole = tokenizer.decode(ids, skipSpecial: skipSpecial)
                if !same(shown, whole) {
                    // Only a run of byte tokens that is no UTF-8 may differ, and only in how it is marked.
                    #expect(tokenizer.decoder.readsByteTokens, "\(ids)")
                    #expect(whole.unicodeScalars.contains("\u{fffd}"), "\(ids)")
                    #expect(shown.unicodeScalars.contains("\u{fffd}"), "\(ids)")
                }
            }
        }
    }

    @Test func halfACharacterAtTheEnd() throws {
        let tokenizer = try TokenizerFixture.named("llama3").tokenizer()
        let ids = tokenizer.encode("\u{1f9ff}", addSpecial: false)
        try #require(ids.count > 1)
        var decoder = StreamingDecoder(tokenizer)
        #expect(decoder.add(ids[0]) == "")
        #expect(decoder.finish() == "\u{fffd}")
        for (bytes, tail) in [
            ([], 0), ([0x61], 0), ([0xe4], 1), ([0xe4, 0xb8], 2), ([0xe4, 0xb8, 0xad], 0), ([0xf0, 0x9f, 0x98], 3),
            ([0xff], 0), ([0x80, 0x80, 0x80], 0), ([0xe0, 0x80], 0), ([0xed, 0xa0], 0), ([0xf4, 0x90], 0), ([0xc3], 1),
        ] as [([UInt8], Int)] {
            #expect(StreamingDecoder.incompleteTail(bytes) == tail, "\(bytes)")
        }
    }
}
