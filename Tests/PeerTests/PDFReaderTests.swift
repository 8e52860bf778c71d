// The PDF reader beside programs that behave as a hostile document makes a parser behave, and beside pdftotext itself.

import Datanets
import Foundation
import Testing

@testable import Peer

@Suite struct PDFReaderTests {
    private static let fixtures = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .appending(path: "Fixtures/documents")
    private static let isInstalled = PDFReader(folder: "/").program != nil

    private static func document(_ name: String) throws -> [UInt8] {
        [UInt8](try Data(contentsOf: fixtures.appending(path: name)))
    }

    private static func with(_ program: String? = nil, _ body: (inout PDFReader) throws -> Void) throws {
        let folder = "\(FileManager.default.temporaryDirectory.path)/olp-\(UInt32.random(in: 0 ... .max))"
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        var reader = PDFReader(folder: "\(folder)/documents")
        if let program {
            let path = "\(folder)/program"
            try Data("#!/bin/sh\n\(program)\n".utf8).write(to: URL(filePath: path))
            try FileManager.default.setAttributes([.posixPermissions: 0o700], ofItemAtPath: path)
            reader.program = path
        }
        try body(&reader)
        // Whatever happened, the document is gone.
        #expect(((try? FileManager.default.contentsOfDirectory(atPath: "\(folder)/documents")) ?? []) == [])
    }

    private static let pdf = Array("%PDF-1.4 and so on".utf8)

    @Test(.enabled(if: isInstalled)) func pagesBecomeRows() throws {
        try Self.with { reader in
            let text = try reader.text(of: Self.document("two-pages.pdf"))
            let file = RowFile(pages: text, name: "soups.pdf")
            #expect(
                file.rows.map(\.row.completion) == [
                    "Brisket is a cut of meat from the breast of beef. It is cooked slowly. It is served hot.",
                    "Gumbo is a stew thickened with okra.",
                ])
            #expect(file.rows.map(\.row.source) == ["soups.pdf p. 1", "soups.pdf p. 2"])
            let scanned = RowFile(pages: try reader.text(of: Self.document("no-text.pdf")), name: "scan.pdf")
            #expect(scanned.faults.first?.description.contains("2 pages without text are probably scanned") == true)
            #expect(throws: PDFFault.locked) { try reader.text(of: Self.document("locked.pdf")) }
            #expect(throws: PDFFault.notAPDF) { try reader.text(of: Array("hello".utf8)) }
            let broken = Array(try Self.document("two-pages.pdf").prefix(200))
            #expect { try reader.text(of: broken) } throws: { error in
                if case .unreadable = error as? PDFFault { true } else { false }
            }
        }
    }

    @Test func aReaderThatIsNotThereIsNamed() throws {
        try Self.with { reader in
            reader.program = nil
            #expect(throws: PDFFault.notInstalled) { try reader.text(of: Self.pdf) }
        }
        #expect(PDFFault.notInstalled.description.contains("apt-get install poppler-utils"))
    }

    @Test func aReaderThatHangsIsEnded() throws {
        try Self.with("sleep 60") { reader in
            reader.secondsMax = 1
            let start = ContinuousClock.now
            #expect(throws: PDFFault.tooSlow(seconds: 1)) { try reader.text(of: Self.pdf) }
            #expect(ContinuousClock.now - start < .seconds(5))
        }
    }

    @Test func aReaderThatNeverStopsTalkingIsEnded() throws {
        try Self.with("while :; do echo 0123456789012345678901234567890123456789; done") { reader in
            reader.textBytesMax = 1 << 20
            #expect(throws: PDFFault.tooMuchText(bytes: 1 << 20)) { try reader.text(of: Self.pdf) }
        }
        // Complaints without end fill nothing either.
        try Self.with("i=0; while [ $i -lt 20000 ]; do echo a long complaint >&2; i=$((i+1)); done; exit 1") { reader in
            #expect { try reader.text(of: Self.pdf) } throws: { error in
                if case .unreadable = error as? PDFFault { true } else { false }
            }
        }
    }

    @Test func aReaderThatCrashesIsOnlyItself() throws {
        try Self.with("kill -SEGV $$") { reader in
            #expect(throws: PDFFault.unreadable("its reader gave up, code -11")) { try reader.text(of: Self.pdf) }
        }
        // Memory has a limit, and files none of it.
        try Self.with("ulimit -v; ulimit -f; ulimit -t") { reader in
            let limits = String(decoding: try reader.text(of: Self.pdf), as: UTF8.self).split(separator: "\n")
            #expect(limits.dropFirst() == ["0", "20"])
            #if os(Linux)
            #expect(limits.first == "1048576")
            #endif
        }
    }
}
