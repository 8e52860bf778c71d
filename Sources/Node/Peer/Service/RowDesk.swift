// Where rows are read out of files and compared: on a queue of its own, one file at a time, since a large one takes seconds and
// neither the node's loop nor an answer may wait for it.

import Datanets
import Dispatch
import Gateway
import Synchronization

final class RowDesk: Sendable {
    /// Files that are being read or wait for it.
    private static let filesMax = 8

    private let reader: PDFReader
    private let queue = DispatchQueue(label: "openledger.rows", qos: .utility)
    private let files = Mutex(0)

    init(reader: PDFReader) { self.reader = reader }

    func perform<Value: Sendable>(
        _ work: @escaping @Sendable () throws(NodeFault) -> Value
    ) async throws(NodeFault) -> Value {
        let isAdmitted = files.withLock { files in
            guard files < Self.filesMax else { return false }
            files += 1
            return true
        }
        guard isAdmitted else {
            throw NodeFault(
                .busy, "\(Self.filesMax) files are being read already; try again soon", code: "busy",
                retryAfterSeconds: 5)
        }
        defer { files.withLock { $0 -= 1 } }
        let result = await withCheckedContinuation { (answer: CheckedContinuation<Result<Value, NodeFault>, Never>) in
            queue.async {
                do throws(NodeFault) {
                    answer.resume(returning: .success(try work()))
                } catch {
                    answer.resume(returning: .failure(error))
                }
            }
        }
        return try result.get()
    }

    /// What a file holds, by its name's ending. Call it on the desk's queue.
    func file(_ bytes: [UInt8], name: String, _ format: RowFormat) throws(NodeFault) -> RowFile {
        switch format {
        case .jsonl: return RowFile(jsonl: bytes, name: name)
        case .csv: return RowFile(csv: bytes, name: name)
        case .markdown: return RowFile(markdown: bytes, name: name)
        case .text: return RowFile(text: bytes, name: name)
        case .pdf: break
        }
        do throws(PDFFault) {
            guard bytes.count <= format.bytesMax else {
                throw .tooLarge(bytes: bytes.count, limit: format.bytesMax)
            }
            return RowFile(pages: try reader.text(of: bytes), name: name)
        } catch {
            switch error {
            case .notInstalled:
                throw NodeFault(.unsupported, "\(name): \(error)", param: "file", code: "pdf_reader_missing")
            case .disk: throw NodeFault(.broken, "\(name): \(error)", code: "storage")
            default: return RowFile(unreadable: error.description, name: name)
            }
        }
    }
}
