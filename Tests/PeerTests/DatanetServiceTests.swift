// Rows as people bring them, on a peer of its own: files of every kind, what stands out in them, and what an owner sees.

import Foundation
import Gateway
import Logging
import Primitives
import Testing

@testable import Peer

@Suite(.serialized) struct DatanetServiceTests {
    private static func with(_ body: (PeerService) async throws -> Void) async throws {
        let home = "\(FileManager.default.temporaryDirectory.path)/old-\(UInt32.random(in: 0 ... .max))"
        defer { try? FileManager.default.removeItem(atPath: home) }
        var options = PeerOptions(home: home, environment: [:])
        options.starter = false
        options.flags = ["listen": "/ip4/127.0.0.1/tcp/0", "http": "127.0.0.1:0"]
        let peer = try await RunningPeer.start(
            options, logger: Logger(label: "datanets") { _ in SwiftLogNoOpLogHandler() })
        do {
            let service = PeerService(peer: peer)
            let description = DatanetDescription(
                name: "recipes", summary: "", tags: [], license: "CC0", access: .approval)
            _ = try await service.perform(.createDatanet(description))
            try await body(service)
        } catch {
            await peer.stop()
            throw error
        }
        await peer.stop()
    }

    private static func upload(_ file: String, _ text: String) -> RowsUpload {
        RowsUpload(file: file, bytes: Array(text.utf8), license: nil)
    }

    @Test func filesOfEveryKindBecomeRows() async throws {
        try await Self.with { service in
            let files = [
                ("a.jsonl", #"{"prompt":"What is ale?","completion":"A beer."}"#, 1),
                ("b.csv", "prompt,completion\nWhat is gin?,\"A spirit, distilled.\"\n", 1),
                ("c.md", "# Rum\n\nIt is made of cane.\n\n## Kinds\n\nWhite and brown.\n", 2),
                ("d.txt", "Wine is made of grapes.\n", 1),
            ]
            for (name, text, rows) in files {
                let added = try await service.perform(.addRows(datanet: "recipes", Self.upload(name, text)))
                #expect(added["rows"]?.integer == rows, "\(name)")
            }
            let page = try await service.perform(.datanetRows("recipes", ListPage()))
            #expect(page["total"]?.integer == 5)
            #expect(page["rows"]?.items?[2]["text"]?.text == "Rum\n\nIt is made of cane.")
            #expect(page["rows"]?.items?[2]["source"]?.text == "c.md line 3")
            let faulty = Self.upload("b.csv", "prompt,completion\nWhat is gin?,\na,\"b")
            let checked = try await service.perform(.validateRows(datanet: "recipes", faulty))
            #expect(checked["valid"]?.flag == false)
            #expect(checked["faults"]?.items?.map { $0["line"]?.integer } == [2, 3])
            #expect(checked["faults"]?.items?.map { $0["reason"]?.text } == ["empty", "not_csv"])
            await #expect(throws: NodeFault.self) {
                try await service.perform(.addRows(datanet: "recipes", faulty))
            }
            await #expect {
                try await service.perform(.addRows(datanet: "recipes", Self.upload("e.docx", "x")))
            } throws: {
                ($0 as? NodeFault)?.code == "unknown_format"
            }
            #expect(try await service.perform(.datanet("recipes"))["rows"]?.integer == 5)
        }
    }

    @Test func whatStandsOutIsTheSameBeforeAndAfter() async throws {
        try await Self.with { service in
            let known = Self.upload("a.csv", "prompt,completion\nIs gumbo a soup?,yes\nIs pho a soup?,yes\n")
            _ = try await service.perform(.addRows(datanet: "recipes", known))
            let file = Self.upload(
                "b.csv", "prompt,completion\nIs pho a SOUP?,Yes\nIs gumbo a soup?,no\nIs tea hot?,yes\n")
            let before = try await service.perform(.validateRows(datanet: "recipes", file))["report"]
            #expect(before?["counts"]?["duplicate"]?.integer == 1 && before?["counts"]?["label_flip"]?.integer == 1)
            #expect(before?["known_rows"]?.integer == 2 && before?["rows"]?.integer == 3)
            let findings = before?["findings"]?.items ?? []
            #expect(findings.map { $0["line"]?.integer } == [2, 3])
            #expect(findings.map { $0["with"]?["index"]?.integer } == [1, 0])
            #expect(findings.first?["with"]?["text"]?.text == "Is pho a soup? \u{2192} yes")
            let added = try await service.perform(.addRows(datanet: "recipes", file))
            let id = try #require(added["contribution"]?.text)
            let after = try await service.perform(.contributionReport(datanet: "recipes", contribution: id))
            #expect(after["state"]?.text == "approved")
            #expect(after["report"]?["counts"] == before?["counts"])
            #expect(
                after["report"]?["findings"]?.items?.map { $0["message"] } == findings.map { $0["message"] })
            await #expect {
                try await service.perform(.contributionReport(datanet: "recipes", contribution: "bafy"))
            } throws: {
                ($0 as? NodeFault)?.code == "contribution_not_found"
            }
        }
    }
}
