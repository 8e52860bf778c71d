// Reading a range of a table page by page: every page is bounded, and `next` says where to go on.

/// Which keys to read, in ascending byte order. An empty prefix is the whole table.
package struct Scan: Sendable {
    package var table: TableID
    package var prefix: [UInt8]
    /// First key wanted (inclusive); a page's `next` continues a scan. Nil starts at the prefix.
    package var from: [UInt8]?
    /// First key not wanted.
    package var end: [UInt8]?
    /// Entries a page, at most `StoreLimits.scanEntriesMax`.
    package var limit: Int

    package init(
        _ table: TableID, prefix: [UInt8] = [], from: [UInt8]? = nil, end: [UInt8]? = nil, limit: Int = 1024
    ) {
        self.table = table
        self.prefix = prefix
        self.from = from
        self.end = end
        self.limit = limit
    }

    var start: [UInt8] {
        guard let from, prefix.lexicographicallyPrecedes(from) else { return prefix }
        return from
    }

    /// The same scan from where `page` stopped; nil when it reached the end.
    package func continued(after page: ScanPage) -> Scan? {
        guard let next = page.next else { return nil }
        var scan = self
        scan.from = next
        return scan
    }
}

/// What a scan found.
package struct ScanPage: Sendable, Hashable {
    package struct Entry: Sendable, Hashable {
        package let key: [UInt8]
        package let value: [UInt8]
    }

    package var entries: [Entry] = []
    /// The first key that did not fit; nil when there is none left.
    package var next: [UInt8]?
}
