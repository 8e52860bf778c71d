// Wall time as people read it, against Python's datetime.

import Primitives
import Testing

@Suite struct TimeTests {
    @Test(arguments: [
        (0, "1970-01-01T00:00:00Z"), (946_641_600_000, "1999-12-31T12:00:00Z"),
        (951_868_799_000, "2000-02-29T23:59:59Z"), (1_795_367_317_999, "2026-11-22T17:08:37Z"),
        (4_107_542_401_000, "2100-03-01T00:00:01Z"), (253_402_300_799_000, "9999-12-31T23:59:59Z"),
        (253_402_300_800_000, "253402300800000 ms since 1970"), (-1, "-1 ms since 1970"),
    ]) func isShown(milliseconds: Int64, text: String) {
        #expect(WallTime(milliseconds: milliseconds).text == text)
    }
}
