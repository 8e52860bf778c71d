// The text of a PDF, by poppler's pdftotext. PDF parsers are large and their inputs hostile, so this one runs as a process of
// its own, with limits on time, memory and output: whatever a document does to it, the peer goes on.

import Foundation
import Primitives

enum PDFFault: Error, Sendable, Hashable, CustomStringConvertible {
    /// Nothing to be done about it in the document.
    case notInstalled
    case disk(String)
    case tooLarge(bytes: Int, limit: Int)
    case notAPDF
    case locked
    case tooSlow(seconds: Int)
    case tooMuchText(bytes: Int)
    case unreadable(String)

    var description: String {
        switch self {
        case .notInstalled:
            "PDF files need the program pdftotext on the peer's machine; install it with: apt-get install poppler-utils"
                + " (macOS: brew install poppler)"
        case .disk(let reason): "the document cannot be put on disk to be read: \(reason)"
        case .tooLarge(let bytes, let limit): "the PDF has \(bytes) bytes; the limit is \(limit); split it"
        case .notAPDF: "the file is no PDF, though its name says so"
        case .locked: "the PDF opens with a password only; save it without one"
        case .tooSlow(let seconds): "the PDF cannot be read within \(seconds) s; print it to a new PDF, or split it"
        case .tooMuchText(let bytes): "the PDF has more than \(bytes >> 20) MiB of text; split it"
        case .unreadable(let reason): "the PDF cannot be read (\(reason)); print it to a new PDF"
        }
    }
}

struct PDFReader: Sendable {
    private static let complaintBytesMax = 4 << 10
    private static let programs = ["/usr/bin", "/usr/local/bin", "/opt/homebrew/bin"].map { "\($0)/pdftotext" }

    /// Where documents are while they are read.
    let folder: String
    /// nil: where it usually is, if it is there.
    var program: String?
    var secondsMax = 20
    var textBytesMax = 16 << 20
    var memoryBytesMax = 1 << 30

    init(folder: String) {
        self.folder = folder
        program = Self.programs.first { FileManager.default.isExecutableFile(atPath: $0) }
    }

    /// UTF-8, a form feed behind each page. Blocks for as long as it takes; one call at a time.
    func text(of document: [UInt8]) throws(PDFFault) -> [UInt8] {
        guard document.prefix(1024).firstRange(of: Array("%PDF-".utf8)) != nil else { throw .notAPDF }
        guard let program else { throw .notInstalled }
        let path = try put(document)
        defer { unlink(path) }
        let (text, complaint, ending) = try run(program, path)
        guard ending == 0 else {
            if complaint.contains("password") { throw .locked }
            let last = complaint.split(separator: "\n").last.map(String.init) ?? "its reader gave up, code \(ending)"
            throw .unreadable(String(last.prefix(200)))
        }
        return text
    }

    private func put(_ document: [UInt8]) throws(PDFFault) -> String {
        let files = FileManager.default
        do {
            // What a peer left behind that ended in the middle of reading.
            for old in (try? files.contentsOfDirectory(atPath: folder)) ?? [] { unlink("\(folder)/\(old)") }
            try files.createDirectory(
                atPath: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
            let path = "\(folder)/\(Hex.encode(Home.randomBytes(8))).pdf"
            try Home.writeNew(document, to: path)
            return path
        } catch {
            throw .disk(error is HomeFault ? "\(error)" : error.localizedDescription)
        }
    }

    /// What it says, what it complains of, and its exit code (below 0: the signal that ended it).
    private func run(_ program: String, _ path: String) throws(PDFFault) -> ([UInt8], String, Int32) {
        let process = Process()
        let (output, errors) = (Pipe(), Pipe())
        process.executableURL = URL(fileURLWithPath: "/bin/sh")
        // Not every system limits memory; the others hold there.
        let limits =
            "ulimit -c 0; ulimit -f 0; ulimit -t \(secondsMax); ulimit -v \(memoryBytesMax >> 10) 2>/dev/null; "
        process.arguments = [
            "-c", limits + "exec \"$@\"", "sh", program, "-enc", "UTF-8", "-eol", "unix", path, "-",
        ]
        process.environment = ["PATH": "/usr/bin:/bin", "LC_ALL": "C"]
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = output
        process.standardError = errors
        do { try process.run() } catch { throw .unreadable("/bin/sh does not start: \(error.localizedDescription)") }
        let deadline = ContinuousClock.now + .seconds(secondsMax)
        // Not waited for: a child that it may have had could hold this up.
        defer { if process.isRunning { kill(process.processIdentifier, SIGKILL) } }
        let (text, complaint) = try collect(process, output, errors, until: deadline)
        while process.isRunning {
            guard ContinuousClock.now < deadline else { throw .tooSlow(seconds: secondsMax) }
            Thread.sleep(forTimeInterval: 0.002)
        }
        let ending = process.terminationStatus
        return (
            text, String(decoding: complaint, as: UTF8.self),
            process.terminationReason == .exit ? ending : -ending
        )
    }

    /// Reads both pipes until they end or a limit is reached.
    private func collect(
        _ process: Process, _ output: Pipe, _ errors: Pipe, until deadline: ContinuousClock.Instant
    ) throws(PDFFault) -> (text: [UInt8], complaint: [UInt8]) {
        var text: [UInt8] = []
        var complaint: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 64 << 10)
        var open = [output, errors].map {
            pollfd(fd: $0.fileHandleForReading.fileDescriptor, events: Int16(POLLIN), revents: 0)
        }
        let textFile = open[0].fd
        while !open.isEmpty {
            guard ContinuousClock.now < deadline else { throw .tooSlow(seconds: secondsMax) }
            let wasRunning = process.isRunning
            let ready = poll(&open, nfds_t(open.count), 100)
            guard ready >= 0 || errno == EINTR else { throw .unreadable("poll failed") }
            // Someone else's child may hold the pipe; what ours wrote is read by now.
            if ready == 0, !wasRunning { break }
            var ended: Set<Int32> = []
            for file in open where file.revents != 0 {
                let count = read(file.fd, &buffer, buffer.count)
                if count <= 0 {
                    ended.insert(file.fd)
                } else if file.fd == textFile {
                    text += buffer[..<count]
                } else {
                    complaint += buffer[..<min(count, Self.complaintBytesMax - complaint.count)]
                }
                guard text.count <= textBytesMax else { throw .tooMuchText(bytes: textBytesMax) }
            }
            open.removeAll { ended.contains($0.fd) }
        }
        return (text, complaint)
    }
}
